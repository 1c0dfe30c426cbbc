// SPDX-License-Identifier: LGPL-2.1-or-later
// throwaway - a certificate authority with one server and one client, for trying things out on this machine.
#include "ctl/pki/throwaway.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "ctl/files.h"
#include "ctl/pki/lifetime.h"
#include "ctl/pki/store.h"
#include "libshared/base/path_fault.h"

namespace virtgate::ctl::pki {

namespace {

constexpr std::time_t k_lifetime = 30 * k_day;
constexpr unsigned k_rsa_bits = 2048;  // enough for a month

// The bundles have the places that every store gives them; the short names are for configurations and URIs.
Done fill(const std::string& directory, KeyType type, std::time_t now) {
    Order order{.common_name = "throwaway authority",
                .organisation = k_organisation,
                .dns = {},
                .addresses = {},
                .key_type = type,
                .rsa_bits = k_rsa_bits,
                .now = now,
                .lifetime = k_lifetime};
    Result<Store> store = Store::make(directory, order);
    if (!store) return tl::make_unexpected(store.error());
    order.common_name = k_client_name;
    if (Result<Issued> client = store->issue(Kind::client, order); !client)
        return tl::make_unexpected(client.error());
    order.common_name = "localhost";
    order.dns = {"localhost"};
    order.addresses = {"127.0.0.1", "::1"};
    if (Result<Issued> server = store->issue(Kind::server, order); !server)
        return tl::make_unexpected(server.error());
    for (const auto& [target, name] : {std::pair{std::string{"clients/"} + k_client_name, "/client"},
                                       std::pair{std::string{"servers/localhost"}, "/server"}})
        if (symlink(target.c_str(), (directory + name).c_str()) < 0)
            return system_fault(errno, fmt::format("cannot make {}{}", directory, name));
    return {};
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
        done = path_fault(errno, "cannot make", directory);
    if (!done) {
        std::error_code ignored;
        std::filesystem::remove_all(fresh, ignored);
    }
    return done;
}

// Errors name the file: there are seven.
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
    const Result<Certificate> authority = read_certificate(authority_path);
    if (!authority) return tl::make_unexpected(authority.error());
    Throwaway result{
        .made = false, .key_type = {}, .expires = gnutls_x509_crt_get_expiration_time(authority->get())};
    for (const char* part : {"ca", "server", "client"}) {
        const std::string path = fmt::format("{}/{}/{}cert.pem", directory, part, part);
        const Result<Certificate> certificate = read_certificate(path);
        if (!certificate) return tl::make_unexpected(certificate.error());
        if (Done done = check(*certificate, *authority, path, directory, now); !done)
            return tl::make_unexpected(done.error());
        result.expires = std::min(result.expires, gnutls_x509_crt_get_expiration_time(certificate->get()));
        if (part == std::string_view{"server"}) result.key_type = read_facts(certificate->get()).key_type;
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
