// SPDX-License-Identifier: LGPL-2.1-or-later
// certificates - keys and certificates of every odd kind, made for one test; and handshakes with them.
#include "tests/unit/support/certificates.h"

#include <criterion/criterion.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

namespace virtgate::test {

namespace {

void check(int code, const char* what) { cr_assert_geq(code, 0, "%s: %s", what, gnutls_strerror(code)); }
#define CHECK(call) check(call, #call)

gnutls_datum_t datum(const std::string& text) {
    return {reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())),
            static_cast<unsigned>(text.size())};
}

std::string take(gnutls_datum_t& from) {
    std::string text(reinterpret_cast<char*>(from.data), from.size);
    gnutls_free(from.data);
    return text;
}

void set_usage(gnutls_x509_crt_t certificate, unsigned usage, bool critical) {
    CHECK(gnutls_x509_crt_set_key_usage(certificate, usage));
    if (critical) return;
    // GnuTLS always makes it critical: take what it wrote and write it again.
    std::array<char, 32> der;
    std::size_t size = der.size();
    CHECK(gnutls_x509_crt_get_extension_by_oid(certificate, "2.5.29.15", 0, der.data(), &size, nullptr));
    CHECK(gnutls_x509_crt_set_extension_by_oid(certificate, "2.5.29.15", der.data(), size, 0));
}

void generate(gnutls_x509_privkey_t key, KeyKind kind) {
    switch (kind) {
        case KeyKind::rsa: return CHECK(gnutls_x509_privkey_generate(key, GNUTLS_PK_RSA, 2048, 0));
        case KeyKind::rsa_pss: return CHECK(gnutls_x509_privkey_generate(key, GNUTLS_PK_RSA_PSS, 2048, 0));
        case KeyKind::p256:
            return CHECK(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                                      GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
        case KeyKind::p384:
            return CHECK(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                                      GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1), 0));
        case KeyKind::p521:
            return CHECK(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                                      GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP521R1), 0));
        case KeyKind::ed25519: return CHECK(gnutls_x509_privkey_generate(key, GNUTLS_PK_EDDSA_ED25519, 0, 0));
    }
}

struct Recorder {
    Proof proof;
    bool server_done = false;
};

int record(gnutls_session_t session, unsigned type, unsigned, unsigned incoming,
           const gnutls_datum_t* message) {
    Proof& proof = static_cast<Recorder*>(gnutls_session_get_ptr(session))->proof;
    const ByteView body = std::as_bytes(std::span(message->data, message->size));
    if (incoming != 0 && type == GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY) {
        proof.certificate_verify.assign(body.begin(), body.end());
        return 0;
    }
    if (!proof.certificate_verify.empty()) return 0;
    if (type == GNUTLS_HANDSHAKE_HELLO_RETRY_REQUEST) type = GNUTLS_HANDSHAKE_SERVER_HELLO;
    for (const unsigned byte : {type, message->size >> 16, message->size >> 8, message->size})
        proof.transcript.push_back(static_cast<std::byte>(byte));
    proof.transcript.insert(proof.transcript.end(), body.begin(), body.end());
    return 0;
}

gnutls_certificate_credentials_t make_credentials(const std::string& chain, const std::string& key) {
    gnutls_certificate_credentials_t credentials = nullptr;
    CHECK(gnutls_certificate_allocate_credentials(&credentials));
    const gnutls_datum_t chain_text = datum(chain), key_text = datum(key);
    if (!chain.empty())
        CHECK(gnutls_certificate_set_x509_key_mem2(credentials, &chain_text, &key_text, GNUTLS_X509_FMT_PEM,
                                                   nullptr, GNUTLS_PKCS_PLAIN));
    return credentials;
}

}  // namespace

Certificate::Certificate(const CertificateSpec& spec, const Certificate* issuer, KeyKind kind) {
    static unsigned char serial = 1;
    CHECK(gnutls_x509_privkey_init(&key_));
    generate(key_, kind);
    CHECK(gnutls_x509_crt_init(&certificate_));
    CHECK(gnutls_x509_crt_set_version(certificate_, 3));
    CHECK(gnutls_x509_crt_set_key(certificate_, key_));
    const std::array<unsigned char, 2> number{0x0a, serial++};
    CHECK(gnutls_x509_crt_set_serial(certificate_, number.data(), number.size()));
    CHECK(gnutls_x509_crt_set_activation_time(certificate_, spec.begin));
    CHECK(gnutls_x509_crt_set_expiration_time(certificate_, spec.end));
    for (const auto& [oid, value] : spec.subject)
        CHECK(gnutls_x509_crt_set_dn_by_oid(certificate_, oid.c_str(), 0, value.data(),
                                            static_cast<unsigned>(value.size())));
    for (const auto& [oid, value] : spec.raw_subject)
        CHECK(gnutls_x509_crt_set_dn_by_oid(certificate_, oid.c_str(), 1, value.data(),
                                            static_cast<unsigned>(value.size())));
    CHECK(gnutls_x509_crt_set_basic_constraints(certificate_, spec.is_ca ? 1 : 0, -1));
    if (spec.usage) set_usage(certificate_, *spec.usage, spec.usage_critical);
    for (const std::string& purpose : spec.purposes)
        CHECK(gnutls_x509_crt_set_key_purpose_oid(certificate_, purpose.c_str(),
                                                  spec.purposes_critical ? 1 : 0));
    for (const auto& [type, value] : spec.names)
        CHECK(gnutls_x509_crt_set_subject_alt_name(certificate_, type, value.data(),
                                                   static_cast<unsigned>(value.size()), GNUTLS_FSAN_APPEND));
    if (!spec.raw_names.empty())
        CHECK(gnutls_x509_crt_set_extension_by_oid(certificate_, "2.5.29.17", spec.raw_names.data(),
                                                   spec.raw_names.size(), 0));
    gnutls_x509_crt_t by = issuer != nullptr ? issuer->certificate_ : certificate_;
    gnutls_x509_privkey_t with = issuer != nullptr ? issuer->key_ : key_;
    CHECK(gnutls_x509_crt_sign2(certificate_, by, with, spec.digest, 0));
}

Certificate::~Certificate() {
    gnutls_x509_crt_deinit(certificate_);
    gnutls_x509_privkey_deinit(key_);
}

std::string Certificate::pem() const {
    gnutls_datum_t text{};
    CHECK(gnutls_x509_crt_export2(certificate_, GNUTLS_X509_FMT_PEM, &text));
    return take(text);
}

std::string Certificate::key_pem() const {
    gnutls_datum_t text{};
    CHECK(gnutls_x509_privkey_export2_pkcs8(key_, GNUTLS_X509_FMT_PEM, nullptr, GNUTLS_PKCS_PLAIN, &text));
    return take(text);
}

ByteVector Certificate::der() const {
    gnutls_datum_t text{};
    CHECK(gnutls_x509_crt_export2(certificate_, GNUTLS_X509_FMT_DER, &text));
    const std::string bytes = take(text);
    const ByteView view = as_bytes(bytes);
    return {view.begin(), view.end()};
}

std::string Certificate::revoke(const std::vector<const Certificate*>& victims, std::time_t next) const {
    gnutls_x509_crl_t list = nullptr;
    CHECK(gnutls_x509_crl_init(&list));
    CHECK(gnutls_x509_crl_set_version(list, 2));
    CHECK(gnutls_x509_crl_set_this_update(list, std::time(nullptr) - 7200));
    CHECK(gnutls_x509_crl_set_next_update(list, next));
    for (const Certificate* victim : victims)
        CHECK(gnutls_x509_crl_set_crt(list, victim->certificate_, std::time(nullptr) - 7200));
    CHECK(gnutls_x509_crl_set_number(list, "\1", 1));
    CHECK(gnutls_x509_crl_sign2(list, certificate_, key_, GNUTLS_DIG_SHA256, 0));
    gnutls_datum_t text{};
    CHECK(gnutls_x509_crl_export2(list, GNUTLS_X509_FMT_PEM, &text));
    gnutls_x509_crl_deinit(list);
    return take(text);
}

proto::config::DoormanConfig doorman_config(const Certificate& ca, const Certificate& server) {
    proto::config::DoormanConfig config;
    config.tls = proto::config::LoginMode::login_direct;
    config.logins = {
        .delay = 1000, .delay_max = 4000, .failures = 5, .window = 60000, .tries = 3, .exchanges = 8};
    config.login = 60000;
    config.certificate_file = "server.pem";
    config.authorities_file = "ca.pem";
    config.authorities = ca.pem();
    config.certificate = server.pem();
    return config;
}

Proof shake_hands(const Certificate& server, const std::string& client_chain, const std::string& client_key,
                  ByteView nonce, const char* server_priority, const char* client_priority) {
    std::array<int, 2> ends;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
    gnutls_certificate_credentials_t server_credentials = make_credentials(server.pem(), server.key_pem());
    gnutls_certificate_credentials_t client_credentials = make_credentials(client_chain, client_key);
    gnutls_session_t here = nullptr, there = nullptr;
    CHECK(gnutls_init(&here, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS));
    CHECK(gnutls_init(&there, GNUTLS_CLIENT | GNUTLS_NONBLOCK));
    CHECK(gnutls_priority_set_direct(here, server_priority, nullptr));
    CHECK(gnutls_priority_set_direct(there, client_priority, nullptr));
    CHECK(gnutls_credentials_set(here, GNUTLS_CRD_CERTIFICATE, server_credentials));
    CHECK(gnutls_credentials_set(there, GNUTLS_CRD_CERTIFICATE, client_credentials));
    gnutls_certificate_server_set_request(here, GNUTLS_CERT_REQUEST);
    gnutls_transport_set_int(here, ends[0]);
    gnutls_transport_set_int(there, ends[1]);
    Recorder recorder;
    gnutls_session_set_ptr(here, &recorder);
    const std::string random(as_text(nonce));
    const gnutls_datum_t random_datum = datum(random);
    CHECK(gnutls_handshake_set_random(here, &random_datum));
    gnutls_handshake_set_hook_function(here, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_PRE, record);
    int server_code = GNUTLS_E_AGAIN, client_code = GNUTLS_E_AGAIN;
    for (int turn = 0; turn < 100 && (server_code < 0 || client_code < 0); ++turn) {
        if (client_code < 0) client_code = gnutls_handshake(there);
        if (server_code < 0) server_code = gnutls_handshake(here);
        cr_assert(server_code >= 0 || gnutls_error_is_fatal(server_code) == 0, "server: %s",
                  gnutls_strerror(server_code));
        cr_assert(client_code >= 0 || gnutls_error_is_fatal(client_code) == 0, "client: %s",
                  gnutls_strerror(client_code));
    }
    cr_assert_eq(server_code, 0);
    cr_assert_eq(client_code, 0);
    gnutls_deinit(here);
    gnutls_deinit(there);
    gnutls_certificate_free_credentials(server_credentials);
    gnutls_certificate_free_credentials(client_credentials);
    close(ends[0]);
    close(ends[1]);
    return std::move(recorder.proof);
}

}  // namespace virtgate::test
