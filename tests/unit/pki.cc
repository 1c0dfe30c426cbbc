// SPDX-License-Identifier: LGPL-2.1-or-later
// pki - authorities as GnuTLS reads them back and as they lie on disk, and what is found wrong with certificates.
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
#include "ctl/pki/examine.h"
#include "ctl/pki/lifetime.h"
#include "ctl/pki/report.h"
#include "ctl/pki/store.h"
#include "ctl/pki/throwaway.h"

using namespace virtgate;
using namespace virtgate::ctl;
using namespace virtgate::ctl::pki;

namespace {

constexpr std::time_t k_now = 1'800'000'000;

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

// ---- the store

namespace {

Order order_for(const char* name, std::time_t now = k_now, std::time_t days = 60) {
    return {.common_name = name,
            .organisation = "Example",
            .dns = {},
            .addresses = {},
            .key_type = std::nullopt,
            .rsa_bits = 2048,
            .now = now,
            .lifetime = days * k_day};
}

Store make_store(const Scratch& scratch, std::time_t days = 3650) {
    Result<Store> store = Store::make(scratch.pki(), order_for("authority", k_now, days));
    cr_assert(store.has_value(), "%s", store ? "" : store.error().text.c_str());
    return std::move(*store);
}

std::size_t entries_in(const std::string& path) {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path)) ++count;
    return count;
}

}  // namespace

Test(pki, a_store_takes_one_writer_and_one_authority) {
    const Scratch scratch;
    cr_assert_eq(Store::open(scratch.pki(), Access::read).error().number, ENOENT);
    cr_assert_eq(Store::open(scratch.pki(), Access::write).error().number, ENOENT);
    {
        const Store store = make_store(scratch);
        cr_assert(Store::open(scratch.pki(), Access::read).has_value());
    }
    const Result<Store> again = Store::make(scratch.pki(), order_for("authority"));
    cr_assert_eq(again.error().number, EEXIST);
    cr_assert(Store::open(scratch.pki(), Access::write).has_value());
    // A key that is another's is no key of this authority.
    const Scratch other;
    make_store(other);
    const std::string key = *read_file(other.pki() + "/ca/cakey.pem");
    cr_assert(replace_file(scratch.pki() + "/ca/cakey.pem", key, 0600).has_value());
    cr_assert_neq(Store::open(scratch.pki(), Access::write).error().text.find("is not the key of"),
                  std::string::npos);
}

Test(pki, what_interrupted_runs_leave_is_removed) {
    const Scratch scratch;
    { make_store(scratch); }
    std::filesystem::create_directories(scratch.pki() + "/clients/.new.abc123");
    cr_assert(write_new_file(scratch.pki() + "/clients/.new.abc123/clientkey.pem", "half", 0600).has_value());
    Result<Store> store = Store::open(scratch.pki(), Access::write);
    cr_assert(store.has_value());
    cr_assert_not(std::filesystem::exists(scratch.pki() + "/clients/.new.abc123"));
}

Test(pki, issued_certificates_are_recorded_and_listed) {
    const Scratch scratch;
    Store store = make_store(scratch);
    Order order = order_for("host1");
    order.dns = {"host1", "host1.example.org"};
    order.addresses = {"192.0.2.1", "::1"};
    const Result<Issued> server = store.issue(Kind::server, order);
    cr_assert(server.has_value(), "%s", server ? "" : server.error().text.c_str());
    cr_assert_eq(server->facts.say_names(), "host1, host1.example.org, 192.0.2.1, ::1");
    cr_assert_eq(server->facts.subject, "O=Example,CN=host1");
    cr_assert_eq(server->facts.issuer, "O=Example,CN=authority");
    cr_assert_not(server->cut);
    cr_assert_eq(store.issue(Kind::server, order).error().number, EEXIST);
    cr_assert(store.issue(Kind::client, order_for("host1")).has_value());
    cr_assert_eq(store.kinds_of("host1", false).size(), 2u);
    cr_assert_eq(store.kinds_of("host2", true).size(), 0u);
    cr_assert_eq(entries_in(scratch.pki() + "/ca/issued"), 2u);

    const Result<std::vector<Entry>> entries = store.list(k_now + 61 * k_day);
    cr_assert_eq(entries->size(), 3u);
    cr_assert_eq((*entries)[0].kind, "authority");
    cr_assert_eq((*entries)[0].state, State::valid);
    cr_assert_eq((*entries)[1].kind, "server");
    cr_assert_eq((*entries)[1].state, State::expired);
    cr_assert_eq(store.list(k_now - k_day)->back().state, State::early);
}

Test(pki, nothing_outlives_its_authority_and_nothing_comes_after_it) {
    const Scratch scratch;
    Store store = make_store(scratch, 10);
    const Result<Issued> made = store.issue(Kind::client, order_for("alice"));
    cr_assert(made->cut);
    cr_assert_eq(made->facts.until, k_now + 10 * k_day);
    const Result<Issued> late = store.issue(Kind::client, order_for("bob", k_now + 11 * k_day));
    cr_assert_not(late.has_value());
    cr_assert_neq(late.error().text.find("has expired"), std::string::npos);
    cr_assert_not(store.write_crl(k_now + 11 * k_day, std::nullopt).has_value());
    cr_assert_not(std::filesystem::exists(scratch.pki() + "/clients/bob"));
}

Test(pki, renewal_with_the_same_key_changes_one_file_and_with_a_new_one_the_bundle) {
    const Scratch scratch;
    Store store = make_store(scratch);
    cr_assert(store.issue(Kind::client, order_for("alice")).has_value());
    const std::string bundle = scratch.pki() + "/clients/alice";
    const std::string key = *read_file(bundle + "/clientkey.pem"),
                      before = *read_file(bundle + "/clientcert.pem");
    const Result<Issued> same = store.renew(Kind::client, "alice", k_now + k_day, 90 * k_day, false);
    cr_assert(same.has_value(), "%s", same ? "" : same.error().text.c_str());
    cr_assert_eq(*read_file(bundle + "/clientkey.pem"), key);
    cr_assert_eq(load(bundle + "/clientcert.pem") != nullptr, true);
    cr_assert_eq(same->facts.until, k_now + 91 * k_day);
    cr_assert(belong_together(load(bundle + "/clientcert.pem"), bundle + "/clientkey.pem"));
    const Result<Issued> other = store.renew(Kind::client, "alice", k_now + k_day, 90 * k_day, true);
    cr_assert(other.has_value());
    cr_assert_neq(*read_file(bundle + "/clientkey.pem"), key);
    cr_assert_eq(*read_file(other->aside + "/clientkey.pem"), key);
    cr_assert(belong_together(load(bundle + "/clientcert.pem"), bundle + "/clientkey.pem"));
    cr_assert_eq(store.renew(Kind::client, "bob", k_now, k_day, false).error().number, ENOENT);
    cr_assert_eq(store.renew(Kind::server, "alice", k_now, k_day, false).error().number, ENOENT);
}

Test(pki, revocation_is_completed_by_the_next_run) {
    const Scratch scratch;
    Store store = make_store(scratch);
    cr_assert(store.issue(Kind::client, order_for("alice")).has_value());
    cr_assert(store.issue(Kind::client, order_for("bob")).has_value());
    cr_assert(store.renew(Kind::client, "alice", k_now + k_day, 90 * k_day, false).has_value());
    cr_assert_eq(store.read_crl()->count, 0u);
    // As if the run had ended before it wrote the list.
    const std::string empty = *read_file(store.crl_path());
    const Result<Store::Revoked> revoked = store.revoke(Kind::client, "alice", k_now + 2 * k_day);
    cr_assert_eq(revoked->certificates.size(), 2u);
    cr_assert_eq(store.read_crl()->count, 2u);
    cr_assert(replace_file(store.crl_path(), empty, 0644).has_value());
    cr_assert(store.write_crl(k_now + 2 * k_day, std::nullopt).has_value());
    cr_assert_eq(store.read_crl()->count, 2u);
    cr_assert_eq(store.read_crl()->until, store.authority().until);
    // The time of the revocation stays.
    const Result<Crl> crl = import_crl(*read_file(store.crl_path()));
    std::array<unsigned char, 32> serial{};
    std::size_t size = serial.size();
    std::time_t when = 0;
    cr_assert_geq(gnutls_x509_crl_get_crt_serial(crl->get(), 0, serial.data(), &size, &when), 0);
    cr_assert_eq(when, k_now + 2 * k_day);
    cr_assert_eq(store.revoke(Kind::client, "alice", k_now + 3 * k_day).error().number, ENOENT);
    // The bundle may be gone: the record is enough.
    std::filesystem::remove_all(scratch.pki() + "/clients/bob");
    cr_assert_eq(store.kinds_of("bob", true).size(), 1u);
    cr_assert_eq(store.revoke(Kind::client, "bob", k_now + 3 * k_day)->certificates.size(), 1u);
    cr_assert_eq(store.read_crl()->count, 3u);
}

Test(pki, the_throwaway_authority_is_a_store) {
    const Scratch scratch;
    cr_assert(ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now).has_value());
    Result<Store> store = Store::open(scratch.pki(), Access::write);
    cr_assert(store.has_value(), "%s", store ? "" : store.error().text.c_str());
    cr_assert(store->issue(Kind::client, order_for("guest", k_now, 1)).has_value());
    cr_assert_eq(store->list(k_now)->size(), 4u);
    cr_assert(store->renew(Kind::server, "localhost", k_now, k_day, true).has_value());
    // The short names lead to what is new.
    const std::string server = scratch.pki() + "/server/server";
    cr_assert(belong_together(load(server + "cert.pem"), server + "key.pem"));
    cr_assert(ensure_throwaway(scratch.pki(), KeyType::ecdsa, k_now).has_value());
}

// ---- what is wrong

namespace {

struct Examined {
    Scratch scratch;
    Store store = make_store(scratch);
    Trust trust;
    Report report;

    Examined() {
        Order order = order_for("host1");
        order.dns = {"host1"};
        cr_assert(store.issue(Kind::server, order).has_value());
        cr_assert(read_trust(report, store.authority_path(), store.crl_path(), true, k_now, trust));
        cr_assert_eq(report.count(Level::good), 1u);
    }
    [[nodiscard]] std::string path(const char* file) const {
        return scratch.pki() + "/servers/host1/" + file;
    }
    void examine(std::time_t now, Kind kind = Kind::server) {
        report = {};
        const Exhibit exhibit{path("servercert.pem"), false, kind};
        const std::vector<Certificate> chain = read_chain(report, exhibit.where);
        examine_chain(report, exhibit, chain, now);
        examine_trust(report, exhibit, chain, trust);
        if (!chain.empty()) examine_key(report, path("serverkey.pem"), exhibit.where, chain.front());
    }
    [[nodiscard]] std::vector<std::string> codes() const {
        std::vector<std::string> codes;
        for (const Finding& finding : report.findings()) codes.push_back(finding.code);
        return codes;
    }
};

using Codes = std::vector<std::string>;

}  // namespace

Test(pki, dates_and_purpose_are_judged) {
    Examined e;
    e.examine(k_now);
    cr_assert_eq(e.codes(), Codes{"good"});
    e.examine(k_now + 59 * k_day);
    cr_assert_eq(e.codes(), Codes{"expires_soon"});
    e.examine(k_now + 60 * k_day + 1);
    cr_assert_eq(e.codes(), Codes{"expired"});
    e.examine(k_now - 301);
    cr_assert_eq(e.codes(), Codes{"not_yet_valid"});
    // Extensions of ours are critical or not as GnuTLS makes them; the purpose is not.
    e.examine(k_now, Kind::client);
    cr_assert_eq(e.codes(), Codes{"wrong_purpose"});
    cr_assert_eq(e.report.count(Level::problem), 0u);
}

Test(pki, key_files_are_judged) {
    Examined e;
    cr_assert_eq(chmod(e.path("serverkey.pem").c_str(), 0604), 0);
    e.examine(k_now);
    cr_assert_eq(e.codes(), (Codes{"good", "key_permissions"}));
    cr_assert(
        replace_file(e.path("serverkey.pem"), *read_file(e.store.authority_key_path()), 0600).has_value());
    e.examine(k_now);
    cr_assert_eq(e.codes(), (Codes{"good", "key_mismatch"}));
    cr_assert(replace_file(e.path("serverkey.pem"), "-----BEGIN PRIVATE KEY-----\n", 0600).has_value());
    e.examine(k_now);
    cr_assert_eq(e.codes(), (Codes{"good", "malformed"}));
    std::filesystem::remove(e.path("serverkey.pem"));
    e.examine(k_now);
    cr_assert_eq(e.codes(), (Codes{"good", "missing"}));
}

Test(pki, reasons_not_to_trust_are_told_apart) {
    Examined e;
    Examined again;  // an authority of the same name
    e.trust = std::move(again.trust);
    e.examine(k_now);
    cr_assert_eq(e.codes(), (Codes{"good", "same_name_other_key"}));

    const Scratch scratch;
    Order other = order_for("another authority");
    cr_assert(Store::make(scratch.pki(), other).has_value());
    cr_assert(read_trust(e.report, scratch.pki() + "/ca/cacert.pem", "", false, k_now, e.trust));
    e.trust.crl.reset();
    e.examine(k_now);
    cr_assert_eq(e.codes(), (Codes{"good", "intermediate_missing"}));  // of the same organisation
    const Scratch stranger;
    other.organisation = "Other";
    cr_assert(Store::make(stranger.pki(), other).has_value());
    cr_assert(read_trust(e.report, stranger.pki() + "/ca/cacert.pem", "", false, k_now, e.trust));
    e.examine(k_now);
    cr_assert_eq(e.codes(), (Codes{"good", "unknown_issuer"}));
}

Test(pki, a_revoked_certificate_and_an_old_list_are_named) {
    Examined e;
    const std::string copy = e.scratch.path + "/servercert.pem";
    std::filesystem::copy(e.path("servercert.pem"), copy);
    cr_assert(e.store.revoke(Kind::server, "host1", k_now).has_value());
    cr_assert(e.store.write_crl(k_now, k_now + 7 * k_day).has_value());
    e.report = {};
    cr_assert(
        read_trust(e.report, e.store.authority_path(), e.store.crl_path(), true, k_now + 8 * k_day, e.trust));
    cr_assert_eq(e.codes(), (Codes{"good", "crl_expired"}));
    e.report = {};
    const std::vector<Certificate> chain = read_chain(e.report, copy);
    examine_trust(e.report, {copy, false, Kind::server}, chain, e.trust);
    cr_assert_eq(e.codes(), Codes{"revoked"});
}

Test(pki, names_of_a_certificate_are_compared_as_clients_do) {
    Examined e;
    const Certificate leaf = load(e.path("servercert.pem"));
    const Exhibit exhibit{"here", true, Kind::server};
    e.report = {};
    examine_name(e.report, exhibit, leaf, "HOST1");
    cr_assert(e.report.findings().empty());
    examine_name(e.report, exhibit, leaf, "host1.example.org");
    cr_assert_eq(e.codes(), Codes{"name_mismatch"});
    cr_assert_neq(e.report.findings().front().what.find("its names: host1"), std::string::npos);
}
