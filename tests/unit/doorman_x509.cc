// SPDX-License-Identifier: LGPL-2.1-or-later
// doorman_x509 - which certificates may come in.
#include <criterion/criterion.h>

#include <algorithm>

#include "netd/doorman/x509.h"
#include "tests/unit/support/certificates.h"

using namespace virtgate;
using namespace virtgate::netd::doorman;
using virtgate::test::Certificate;
using virtgate::test::CertificateSpec;
using virtgate::test::KeyKind;

namespace {

const std::time_t k_now = std::time(nullptr);

CertificateSpec ca_spec(const char* name) {
    CertificateSpec spec;
    spec.subject = {{"2.5.4.3", name}};
    spec.is_ca = true;
    spec.usage = GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN;
    return spec;
}

// What the authorities say to the chain; empty if it may come in.
std::string judge(const Authorities& authorities, const std::vector<const Certificate*>& certificates,
                  std::vector<std::string>* warnings = nullptr) {
    std::vector<ByteVector> ders;
    for (const Certificate* certificate : certificates) ders.push_back(certificate->der());
    const auto chain = parse_chain({ders.begin(), ders.end()});
    cr_assert(chain.has_value());
    std::vector<std::string> said;
    const Done done = authorities.judge(*chain, said);
    if (warnings != nullptr) *warnings = said;
    if (done) return "";
    cr_assert_eq(done.error().fault, Fault::peer);
    return done.error().text;
}

struct Pki {
    Certificate ca{ca_spec("Test CA"), nullptr};
    Authorities authorities = std::move(*Authorities::load(ca.pem(), ""));
};

bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

}  // namespace

Test(x509, admits_what_libvirt_admits) {
    Pki pki;
    for (const KeyKind kind :
         {KeyKind::rsa, KeyKind::rsa_pss, KeyKind::p256, KeyKind::p384, KeyKind::p521, KeyKind::ed25519}) {
        const Certificate plain({}, &pki.ca, kind);
        cr_assert_eq(judge(pki.authorities, {&plain}), "");
    }
    CertificateSpec full;
    full.usage = GNUTLS_KEY_DIGITAL_SIGNATURE | GNUTLS_KEY_KEY_ENCIPHERMENT;
    full.purposes = {GNUTLS_KP_TLS_WWW_SERVER, GNUTLS_KP_TLS_WWW_CLIENT};
    const Certificate both(full, &pki.ca);
    std::vector<std::string> warnings;
    cr_assert_eq(judge(pki.authorities, {&both}, &warnings), "");
    cr_assert(warnings.empty());
}

Test(x509, admits_an_intermediate_ca_and_a_chain_with_its_root) {
    Pki pki;
    const Certificate middle(ca_spec("Middle CA"), &pki.ca);
    const Certificate leaf({}, &middle);
    cr_assert_eq(judge(pki.authorities, {&leaf, &middle}), "");
    cr_assert_eq(judge(pki.authorities, {&leaf, &middle, &pki.ca}), "");
    cr_assert(!judge(pki.authorities, {&leaf}).empty(), "the link is missing");
}

Test(x509, refuses_dates) {
    Pki pki;
    CertificateSpec old;
    old.begin = k_now - 7200;
    old.end = k_now - 60;
    const Certificate expired(old, &pki.ca);
    cr_assert_eq(judge(pki.authorities, {&expired}), "a certificate has expired");
    CertificateSpec young;
    young.begin = k_now + 60;
    const Certificate early(young, &pki.ca);
    cr_assert_eq(judge(pki.authorities, {&early}), "a certificate is not valid yet");
    CertificateSpec old_ca = ca_spec("Old CA");
    old_ca.begin = k_now - 7200;
    old_ca.end = k_now - 60;
    const Certificate middle(old_ca, &pki.ca);
    const Certificate leaf({}, &middle);
    cr_assert_eq(judge(pki.authorities, {&leaf, &middle}), "a certificate has expired");
}

Test(x509, refuses_other_authorities) {
    Pki pki;
    const Certificate other(ca_spec("Other CA"), nullptr);
    const Certificate of_other({}, &other);
    cr_assert(!judge(pki.authorities, {&of_other}).empty());
    cr_assert(!judge(pki.authorities, {&of_other, &other}).empty());
    // The same name is not the same CA.
    const Certificate double_(ca_spec("Test CA"), nullptr);
    const Certificate of_double({}, &double_);
    cr_assert(!judge(pki.authorities, {&of_double}).empty());
    const Certificate self({}, nullptr);
    cr_assert(!judge(pki.authorities, {&self}).empty());
    // A client's certificate makes no others.
    const Certificate client({}, &pki.ca);
    const Certificate of_client({}, &client);
    cr_assert(!judge(pki.authorities, {&of_client, &client}).empty());
}

Test(x509, refuses_a_ca_as_client) {
    Pki pki;
    const Certificate middle(ca_spec("Middle CA"), &pki.ca);
    cr_assert_eq(judge(pki.authorities, {&middle}), "the certificate is a CA's, not a client's");
    cr_assert_eq(judge(pki.authorities, {&pki.ca}), "the certificate is a CA's, not a client's");
}

Test(x509, refuses_critical_usage_and_purpose_and_warns_of_others) {
    Pki pki;
    for (const bool critical : {true, false}) {
        CertificateSpec usage;
        usage.usage = GNUTLS_KEY_KEY_ENCIPHERMENT;
        usage.usage_critical = critical;
        CertificateSpec purpose;
        purpose.purposes = {GNUTLS_KP_TLS_WWW_SERVER, GNUTLS_KP_CODE_SIGNING};
        purpose.purposes_critical = critical;
        const Certificate wrong_usage(usage, &pki.ca), wrong_purpose(purpose, &pki.ca);
        std::vector<std::string> warnings;
        cr_assert_eq(judge(pki.authorities, {&wrong_usage}, &warnings),
                     critical ? "the certificate's key usage does not allow digital signatures" : "");
        cr_assert_eq(warnings.size(), critical ? 0 : 1);
        cr_assert_eq(judge(pki.authorities, {&wrong_purpose}, &warnings),
                     critical ? "the certificate's purpose is not that of a TLS client" : "");
        cr_assert_eq(warnings.size(), critical ? 0 : 1);
    }
}

Test(x509, refuses_weak_signatures) {
    Pki pki;
    CertificateSpec weak;
    weak.digest = GNUTLS_DIG_SHA1;
    const Certificate sha1(weak, &pki.ca);
    cr_assert(has(judge(pki.authorities, {&sha1}), "insecure algorithm"));
}

Test(x509, refuses_what_is_revoked) {
    const Certificate ca(ca_spec("Test CA"), nullptr), other(ca_spec("Other CA"), nullptr);
    const Certificate good({}, &ca), bad({}, &ca);
    // Also by a list that should have been renewed: it does not become less true.
    for (const std::time_t next : {k_now + 3600, k_now - 60}) {
        const auto authorities = Authorities::load(ca.pem(), ca.revoke({&bad}, next));
        cr_assert(authorities.has_value(), "%s", authorities ? "" : authorities.error().text.c_str());
        cr_assert_eq(judge(*authorities, {&good}), "");
        cr_assert(has(judge(*authorities, {&bad}), "revoked"));
    }
    const auto foreign = Authorities::load(ca.pem(), other.revoke({&bad}, k_now + 3600));
    cr_assert_eq(foreign.error().text, "a revocation list is not signed by any of the CAs");
}

Test(x509, authorities_have_to_be_readable) {
    const Certificate ca(ca_spec("Test CA"), nullptr), second(ca_spec("Second CA"), nullptr);
    const Certificate of_second({}, &second);
    cr_assert(!Authorities::load("", "").has_value());
    cr_assert(
        !Authorities::load("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "").has_value());
    cr_assert(
        !Authorities::load(ca.pem(), "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n").has_value());
    const auto two = Authorities::load(ca.pem() + second.pem(), "");
    cr_assert_eq(judge(*two, {&of_second}), "");
}

Test(x509, refuses_what_is_no_certificate) {
    const std::string text = "no certificate";
    cr_assert(!parse_chain({as_bytes(text)}).has_value());
    const Certificate ca(ca_spec("Test CA"), nullptr);
    const ByteVector der = ca.der();
    for (std::size_t size = 0; size < der.size(); size += 7)
        cr_assert(!parse_chain({ByteView(der).first(size)}).has_value(), "%zu bytes", size);
}
