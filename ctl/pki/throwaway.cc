// SPDX-License-Identifier: LGPL-2.1-or-later
// throwaway - a certificate authority with one server and one client, for trying things out on this machine.
#include "ctl/pki/throwaway.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "ctl/files.h"
#include "ctl/pki/certificate.h"

namespace virtgate::ctl::pki {

namespace {

// The clocks of a client and of this machine may differ by a little.
constexpr std::time_t k_before = 5 * 60;
constexpr std::time_t k_lifetime = 30 * 24 * 60 * 60;
constexpr mode_t k_key_mode = 0600, k_certificate_mode = 0644, k_directory_mode = 0700;

// A key and the certificate for it.
struct Pair {
    Key key;
    Certificate certificate;
};

Result<Pair> make_pair(KeyType type, const Request& request, const Pair* authority) {
    Result<Key> key = generate_key(type);
    if (!key) return tl::make_unexpected(key.error());
    const Issuer issuer =
        authority != nullptr ? Issuer{authority->certificate.get(), authority->key.get()} : Issuer{};
    Result<Certificate> certificate = issue(request, *key, authority != nullptr ? &issuer : nullptr);
    if (!certificate) return tl::make_unexpected(certificate.error());
    return Pair{std::move(*key), std::move(*certificate)};
}

Done write_certificate(const std::string& path, const Pair& pair) {
    const Result<Pem> pem = export_certificate(pair.certificate);
    return pem ? write_new_file(path, pem->text(), k_certificate_mode)
               : Done{tl::make_unexpected(pem.error())};
}

// Writes PART/PARTcert.pem and PART/PARTkey.pem below `directory`; an authority's files begin with "ca".
Done write_pair(const std::string& directory, const std::string& part, const Pair& pair) {
    const std::string stem = fmt::format("{}/{}", directory, part);
    if (Done done = make_directory(stem, k_directory_mode); !done) return done;
    if (Done done = write_certificate(fmt::format("{}/{}cert.pem", stem, part), pair); !done) return done;
    const Result<Pem> pem = export_key(pair.key);
    return pem ? write_new_file(fmt::format("{}/{}key.pem", stem, part), pem->text(), k_key_mode)
               : Done{tl::make_unexpected(pem.error())};
}

// The authority's key stays in the directory, so that a user can issue more certificates with any tool.
Done fill(const std::string& directory, KeyType type, std::time_t now) {
    const auto request = [now](Purpose purpose, const char* name) {
        Request wish{.purpose = purpose,
                     .organisation = k_organisation,
                     .name = name,
                     .dns = {},
                     .addresses = {},
                     .from = now - k_before,
                     .until = now + k_lifetime};
        if (purpose == Purpose::server) {
            wish.dns = {"localhost"};
            wish.addresses = {"127.0.0.1", "::1"};
        }
        return wish;
    };
    const Result<Pair> authority =
        make_pair(type, request(Purpose::authority, "throwaway authority"), nullptr);
    if (!authority) return tl::make_unexpected(authority.error());
    if (Done done = write_pair(directory, "ca", *authority); !done) return done;
    const Result<Pair> server = make_pair(type, request(Purpose::server, "localhost"), &*authority);
    if (!server) return tl::make_unexpected(server.error());
    if (Done done = write_pair(directory, "server", *server); !done) return done;
    const Result<Pair> client = make_pair(type, request(Purpose::client, k_client_name), &*authority);
    if (!client) return tl::make_unexpected(client.error());
    if (Done done = write_pair(directory, "client", *client); !done) return done;
    return write_certificate(directory + "/client/cacert.pem", *authority);
}

// Fills a directory beside `directory` and then gives it that name, so that nobody ever meets half of it.
Done make_all(const std::string& directory, KeyType type, std::time_t now) {
    std::string fresh = directory + ".XXXXXX";
    if (mkdtemp(fresh.data()) == nullptr)
        return system_fault(errno, fmt::format("cannot make a directory beside {}", directory));
    Done done = fill(fresh, type, now);
    if (done && chmod(fresh.c_str(), 0755) < 0)
        done = system_fault(errno, fmt::format("cannot set the mode of {}", fresh));
    if (done && renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, directory.c_str(), RENAME_NOREPLACE) < 0)
        done = system_fault(errno, fmt::format("cannot make {}", directory));
    if (!done) {
        std::error_code ignored;
        std::filesystem::remove_all(fresh, ignored);
    }
    return done;
}

std::string say_time(std::time_t when) { return fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(when)); }

// Errors name the file: there are seven.
Result<Certificate> load(const std::string& path) {
    const Result<std::string> text = read_file(path);
    if (!text) return tl::make_unexpected(text.error());
    Result<Certificate> certificate = import_certificate(*text);
    return certificate ? std::move(certificate) : Result<Certificate>{wrap(certificate.error(), path)};
}

// For telling the user that --key-type came too late.
KeyType key_type_of(const Certificate& certificate) {
    switch (gnutls_x509_crt_get_pk_algorithm(certificate.get(), nullptr)) {
        case GNUTLS_PK_ECDSA: return KeyType::ecdsa;
        case GNUTLS_PK_EDDSA_ED25519: return KeyType::ed25519;
        default: return KeyType::rsa;
    }
}

// `authority` is itself for the authority.
Done check(const Certificate& certificate, const Certificate& authority, const std::string& path,
           const std::string& directory, std::time_t now) {
    const std::string remedy =
        fmt::format("remove {} and start again: then new ones are made, and clients need the new {}/client",
                    directory, directory);
    const std::time_t from = gnutls_x509_crt_get_activation_time(certificate.get());
    const std::time_t until = gnutls_x509_crt_get_expiration_time(certificate.get());
    if (now < from)
        return system_fault(0, fmt::format("{} is not valid before {}; is the clock right? If it is, {}",
                                           path, say_time(from), remedy));
    if (now > until)
        return system_fault(0, fmt::format("{} has expired, on {}; {}", path, say_time(until), remedy));
    gnutls_x509_crt_t issuer = authority.get();
    unsigned flaws = 0;
    const int outcome =
        gnutls_x509_crt_verify(certificate.get(), &issuer, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &flaws);
    if (outcome < 0 || flaws != 0)
        return system_fault(
            0, fmt::format("{} was not issued by {}/ca/cacert.pem; {}", path, directory, remedy));
    return {};
}

// A certificate that clients refuse is found late and with difficulty; so all are looked at before anything
// starts.
Result<Throwaway> check_all(const std::string& directory, std::time_t now) {
    const std::string authority_path = directory + "/ca/cacert.pem";
    const Result<Certificate> authority = load(authority_path);
    if (!authority) return tl::make_unexpected(authority.error());
    Throwaway result{
        .made = false, .key_type = {}, .expires = gnutls_x509_crt_get_expiration_time(authority->get())};
    for (const char* part : {"ca", "server", "client"}) {
        const std::string path = fmt::format("{}/{}/{}cert.pem", directory, part, part);
        const Result<Certificate> certificate = load(path);
        if (!certificate) return tl::make_unexpected(certificate.error());
        if (Done done = check(*certificate, *authority, path, directory, now); !done)
            return tl::make_unexpected(done.error());
        result.expires = std::min(result.expires, gnutls_x509_crt_get_expiration_time(certificate->get()));
        if (part == std::string_view{"server"}) result.key_type = key_type_of(*certificate);
    }
    return result;
}

}  // namespace

Result<Throwaway> ensure_throwaway(const std::string& directory, KeyType type, std::time_t now) {
    if (access(directory.c_str(), F_OK) == 0) return check_all(directory, now);
    if (errno != ENOENT) return system_fault(errno, fmt::format("cannot look at {}", directory));
    if (Done done = make_all(directory, type, now); !done) return tl::make_unexpected(done.error());
    return Throwaway{.made = true, .key_type = type, .expires = now + k_lifetime};
}

}  // namespace virtgate::ctl::pki
