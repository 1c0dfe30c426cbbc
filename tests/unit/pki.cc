// SPDX-License-Identifier: LGPL-2.1-or-later
// pki - the throwaway authority as GnuTLS reads it back, and as it lies on disk.
#include <criterion/criterion.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "ctl/files.h"
#include "ctl/pki/certificate.h"
#include "ctl/pki/throwaway.h"

using namespace virtgate;
using namespace virtgate::ctl;
using namespace virtgate::ctl::pki;

namespace {

constexpr std::time_t k_now = 1'800'000'000;
constexpr std::time_t k_day = 24 * 60 * 60;

// A directory that ends with the test.
struct Scratch {
    std::string path = "/tmp/test-pki.XXXXXX";
    Scratch() { cr_assert_not_null(mkdtemp(path.data())); }
    ~Scratch() { std::filesystem::remove_all(path); }
    [[nodiscard]] std::string pki() const { return path + "/pki"; }
};

Certificate load(const std::string& path) {
    const Result<std::string> text = read_file(path);
    cr_assert(text.has_value(), "%s", path.c_str());
    Result<Certificate> certificate = import_certificate(*text);
    cr_assert(certificate.has_value(), "%s", path.c_str());
    return std::move(*certificate);
}

unsigned usage_of(const Certificate& certificate) {
    unsigned usage = 0, critical = 0;
    cr_assert_eq(gnutls_x509_crt_get_key_usage(certificate.get(), &usage, &critical), 0);
    cr_assert_eq(critical, 1u);
    return usage;
}

std::vector<std::string> purposes_of(const Certificate& certificate) {
    std::vector<std::string> found;
    for (unsigned i = 0;; ++i) {
        std::array<char, 128> oid{};
        std::size_t size = oid.size();
        unsigned critical = 0;
        if (gnutls_x509_crt_get_key_purpose_oid(certificate.get(), i, oid.data(), &size, &critical) < 0)
            return found;
        found.emplace_back(oid.data());
    }
}

bool is_authority(const Certificate& certificate) {
    unsigned critical = 0;
    return gnutls_x509_crt_get_ca_status(certificate.get(), &critical) > 0;
}

mode_t mode_of(const std::string& path) {
    struct stat found {};
    cr_assert_eq(stat(path.c_str(), &found), 0, "%s", path.c_str());
    return found.st_mode & 07777;
}

bool issued_by(const Certificate& certificate, const Certificate& authority) {
    gnutls_x509_crt_t issuer = authority.get();
    unsigned flaws = 0;
    return gnutls_x509_crt_verify(certificate.get(), &issuer, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &flaws) ==
               0 &&
           flaws == 0;
}

// The public halves of a certificate and a key file are the same.
bool belong_together(const Certificate& certificate, const std::string& key_path) {
    std::string text = *read_file(key_path);
    gnutls_datum_t datum{static_cast<unsigned char*>(static_cast<void*>(text.data())),
                         static_cast<unsigned>(text.size())};
    gnutls_x509_privkey_t raw = nullptr;
    cr_assert_eq(gnutls_x509_privkey_init(&raw), 0);
    const Key key{raw};
    cr_assert_eq(
        gnutls_x509_privkey_import_pkcs8(raw, &datum, GNUTLS_X509_FMT_PEM, nullptr, GNUTLS_PKCS_PLAIN), 0);
    std::array<unsigned char, 64> one{}, other{};
    std::size_t one_size = one.size(), other_size = other.size();
    cr_assert_eq(gnutls_x509_privkey_get_key_id(raw, 0, one.data(), &one_size), 0);
    cr_assert_eq(gnutls_x509_crt_get_key_id(certificate.get(), 0, other.data(), &other_size), 0);
    return one_size == other_size && one == other;
}

}  // namespace

Test(pki, every_kind_of_key_gives_certificates_that_libvirt_accepts) {
    constexpr unsigned k_leaf_usage = GNUTLS_KEY_DIGITAL_SIGNATURE | GNUTLS_KEY_KEY_ENCIPHERMENT;
    constexpr std::array k_algorithms{GNUTLS_PK_ECDSA, GNUTLS_PK_RSA, GNUTLS_PK_EDDSA_ED25519};
    for (std::size_t i = 0; i < k_algorithms.size(); ++i) {
        const Scratch scratch;
        const Result<Throwaway> made = ensure_throwaway(scratch.pki(), static_cast<KeyType>(i), k_now);
        cr_assert(made.has_value(), "%s", made ? "" : made.error().text.c_str());
        cr_assert(made->made);
        const Certificate authority = load(scratch.pki() + "/ca/cacert.pem");
        const Certificate server = load(scratch.pki() + "/server/servercert.pem");
        const Certificate client = load(scratch.pki() + "/client/clientcert.pem");

        cr_assert(is_authority(authority));
        cr_assert_eq(usage_of(authority), unsigned{GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN});
        cr_assert_not(is_authority(server));
        cr_assert_not(is_authority(client));
        cr_assert_eq(usage_of(server), k_leaf_usage);
        cr_assert_eq(usage_of(client), k_leaf_usage);
        cr_assert_eq(purposes_of(server), std::vector<std::string>{GNUTLS_KP_TLS_WWW_SERVER});
        cr_assert_eq(purposes_of(client), std::vector<std::string>{GNUTLS_KP_TLS_WWW_CLIENT});
        cr_assert(purposes_of(authority).empty());

        cr_assert(issued_by(authority, authority));
        cr_assert(issued_by(server, authority));
        cr_assert(issued_by(client, authority));
        cr_assert_eq(gnutls_x509_crt_get_pk_algorithm(server.get(), nullptr), int{k_algorithms[i]});
        cr_assert_eq(gnutls_x509_crt_get_version(server.get()), 3);
    }
}

Test(pki, the_server_has_the_names_of_this_machine_and_no_other) {
    const Scratch scratch;
    cr_assert(ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now).has_value());
    const Certificate server = load(scratch.pki() + "/server/servercert.pem");
    for (const char* name : {"localhost", "127.0.0.1", "::1"})
        cr_assert(gnutls_x509_crt_check_hostname(server.get(), name), "%s", name);
    for (const char* name : {"example.org", "127.0.0.2", "::2", "admin"})
        cr_assert_not(gnutls_x509_crt_check_hostname(server.get(), name), "%s", name);
    const Certificate client = load(scratch.pki() + "/client/clientcert.pem");
    cr_assert_not(gnutls_x509_crt_check_hostname(client.get(), "localhost"));
}

Test(pki, certificates_live_from_a_little_before_now_for_thirty_days) {
    const Scratch scratch;
    const Result<Throwaway> made = ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now);
    cr_assert_eq(made->expires, k_now + 30 * k_day);
    for (const char* path : {"/ca/cacert.pem", "/server/servercert.pem", "/client/clientcert.pem"}) {
        const Certificate certificate = load(scratch.pki() + path);
        cr_assert_eq(gnutls_x509_crt_get_activation_time(certificate.get()), k_now - 300);
        cr_assert_eq(gnutls_x509_crt_get_expiration_time(certificate.get()), k_now + 30 * k_day);
    }
    cr_assert(ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now + 30 * k_day).has_value());
    const Result<Throwaway> late = ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now + 30 * k_day + 1);
    cr_assert_not(late.has_value());
    cr_assert_neq(late.error().text.find("has expired"), std::string::npos);
    cr_assert_neq(late.error().text.find("remove " + scratch.pki()), std::string::npos);
    cr_assert_not(ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now - 301).has_value());
}

Test(pki, keys_are_private_and_fit_their_certificates) {
    const Scratch scratch;
    umask(0);  // the worst case
    cr_assert(ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now).has_value());
    for (const char* part : {"ca", "server", "client"}) {
        const std::string stem = scratch.pki() + "/" + part + "/" + part;
        cr_assert_eq(mode_of(stem + "key.pem"), 0600u);
        cr_assert_eq(mode_of(scratch.pki() + "/" + part), 0700u);
        cr_assert(belong_together(load(stem + "cert.pem"), stem + "key.pem"), "%s", part);
    }
}

Test(pki, the_clients_directory_is_what_pkipath_wants) {
    const Scratch scratch;
    cr_assert(ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now).has_value());
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(scratch.pki() + "/client"))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    cr_assert_eq(names, (std::vector<std::string>{"cacert.pem", "clientcert.pem", "clientkey.pem"}));
    cr_assert_eq(*read_file(scratch.pki() + "/client/cacert.pem"),
                 *read_file(scratch.pki() + "/ca/cacert.pem"));
    // No half-made directory stays beside it.
    std::size_t entries = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(scratch.path)) ++entries;
    cr_assert_eq(entries, 1u);
}

Test(pki, what_exists_is_never_written_again) {
    const Scratch scratch;
    cr_assert(ensure_throwaway(scratch.pki(), KeyType::rsa, k_now).has_value());
    const std::string before = *read_file(scratch.pki() + "/server/serverkey.pem");
    const Result<Throwaway> again = ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now + k_day);
    cr_assert(again.has_value());
    cr_assert_not(again->made);
    cr_assert_eq(again->key_type, KeyType::rsa);
    cr_assert_eq(again->expires, k_now + 30 * k_day);
    cr_assert_eq(*read_file(scratch.pki() + "/server/serverkey.pem"), before);

    const Done denied = write_new_file(scratch.pki() + "/server/serverkey.pem", "other", 0600);
    cr_assert_not(denied.has_value());
    cr_assert_eq(denied.error().number, EEXIST);
    cr_assert_eq(*read_file(scratch.pki() + "/server/serverkey.pem"), before);
}

Test(pki, a_damaged_or_foreign_certificate_is_named) {
    const Scratch scratch, other;
    cr_assert(ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now).has_value());
    cr_assert(ensure_throwaway(other.pki(), KeyType::ecdsa, k_now).has_value());
    const std::string path = scratch.pki() + "/server/servercert.pem";
    cr_assert(replace_file(path, *read_file(other.pki() + "/server/servercert.pem"), 0644).has_value());
    Result<Throwaway> result = ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now);
    cr_assert_not(result.has_value());
    cr_assert_neq(result.error().text.find(path + " was not issued by"), std::string::npos);

    cr_assert(replace_file(path, "nonsense", 0644).has_value());
    result = ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now);
    cr_assert_not(result.has_value());
    cr_assert_neq(result.error().text.find(path), std::string::npos);

    std::filesystem::remove(path);
    result = ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now);
    cr_assert_not(result.has_value());
    cr_assert_eq(result.error().number, ENOENT);
}

Test(pki, serial_numbers_differ) {
    const Scratch scratch;
    cr_assert(ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now).has_value());
    std::vector<std::string> serials;
    for (const char* path : {"/ca/cacert.pem", "/server/servercert.pem", "/client/clientcert.pem"}) {
        std::array<char, 40> serial{};
        std::size_t size = serial.size();
        const Certificate certificate = load(scratch.pki() + path);
        cr_assert_eq(gnutls_x509_crt_get_serial(certificate.get(), serial.data(), &size), 0);
        cr_assert_eq(size, 16u);
        serials.emplace_back(serial.data(), size);
    }
    cr_assert_neq(serials[0], serials[1]);
    cr_assert_neq(serials[1], serials[2]);
    cr_assert_neq(serials[0], serials[2]);
}
