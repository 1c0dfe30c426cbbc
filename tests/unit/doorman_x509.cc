// SPDX-License-Identifier: LGPL-2.1-or-later
// doorman_x509 - which certificates may come in, and which names are read from them.
#include <criterion/criterion.h>

#include <algorithm>

#include "netd/doorman/x509_names.h"
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

namespace {

proto::who::X509Facts names_of(const CertificateSpec& spec, std::string* refusal = nullptr) {
    const Certificate ca(ca_spec("Test CA"), nullptr);
    const Certificate certificate(spec, &ca);
    const ByteVector der = certificate.der();
    const auto chain = parse_chain({der});  // as it would come from the network
    cr_assert(chain.has_value());
    proto::who::X509Facts who;
    const Done done = read_names(chain->front().get(), who);
    if (refusal != nullptr)
        *refusal = done ? "" : done.error().text;
    else
        cr_assert(done.has_value(), "%s", done ? "" : done.error().text.c_str());
    return who;
}

}  // namespace

Test(names, keep_a_value_in_one_piece) {
    CertificateSpec spec;
    spec.subject = {{"2.5.4.6", "GB"}, {"2.5.4.10", "evil"}, {"2.5.4.3", "x,CN=admin"}};
    const auto who = names_of(spec);
    cr_assert_eq(who.subject.size(), 3);
    cr_assert_eq(who.subject[0].attribute, "C");
    cr_assert_eq(who.subject[1].attribute, "O");
    cr_assert_eq(who.subject[2].attribute, "CN");
    cr_assert_eq(who.subject[2].value, "x,CN=admin");
    cr_assert_eq(who.subject_text, "C=GB,O=evil,CN=x\\,CN=admin", "%s", who.subject_text.c_str());
    cr_assert_eq(who.issuer.size(), 1);
    cr_assert_eq(who.issuer[0].value, "Test CA");
    cr_assert_eq(who.serial.substr(0, 2), "0a");
}

Test(names, are_decoded_from_every_string_type) {
    CertificateSpec spec;
    spec.subject = {{"2.5.4.10", "Zürich 漢字 😀"}};
    spec.raw_subject = {{"2.5.4.11", std::string("\x1e\x04\x00\xe9\x6f\x22", 6)},  // BMPString: é漢
                        {"2.5.4.7", std::string("\x13\x03"
                                                "abc",
                                                5)},                               // PrintableString
                        {"2.5.4.3", std::string("\x1c\x04\x00\x01\xf6\x00", 6)}};  // UniversalString: 😀
    const auto who = names_of(spec);
    cr_assert_eq(who.subject.size(), 4);
    cr_assert_eq(who.subject[0].value, "Zürich 漢字 😀");
    cr_assert_eq(who.subject[1].value, "é漢");
    cr_assert_eq(who.subject[2].value, "abc");
    cr_assert_eq(who.subject[3].value, "😀");
}

Test(names, with_nul_control_characters_or_broken_text_are_refused) {
    const std::pair<const char*, std::string> wrong[] = {
        {"NUL", std::string("\x0c\x0b"
                            "admin\0.evil",
                            13)},
        {"NUL in a BMPString", std::string("\x1e\x06\x00"
                                           "a\x00\x00\x00"
                                           "b",
                                           8)},
        {"newline", std::string("\x0c\x03"
                                "a\nb",
                                5)},
        {"escape", std::string("\x0c\x03"
                               "a\x1b"
                               "b",
                               5)},
        {"C1 control", std::string("\x0c\x03"
                                   "a\xc2\x9b",
                                   5)},
        {"not UTF-8", std::string("\x0c\x03"
                                  "a\xff"
                                  "b",
                                  5)},
        {"overlong", std::string("\x0c\x02\xc0\x80", 4)},
        {"surrogate", std::string("\x1e\x02\xd8\x00", 4)},
        {"odd BMPString", std::string("\x1e\x03\x00"
                                      "a\x00",
                                      5)},
        {"Latin-1 Teletex", std::string("\x14\x02"
                                        "a\xe9",
                                        4)},
        {"Latin-1 in IA5", std::string("\x16\x02"
                                       "a\xe9",
                                       4)},
        {"an integer", std::string("\x02\x01\x41", 3)},
    };
    for (const auto& [what, der] : wrong) {
        CertificateSpec spec;
        spec.subject.clear();
        spec.raw_subject = {{"2.5.4.3", der}};
        std::string refusal;
        names_of(spec, &refusal);
        cr_assert(has(refusal, "is not plain text"), "%s: \"%s\"", what, refusal.c_str());
        cr_assert(has(refusal, "CN="), "%s: \"%s\"", what, refusal.c_str());
        cr_assert(is_plain_text(refusal), "%s", what);
    }
}

Test(names, that_are_too_long_are_refused) {
    CertificateSpec spec;
    spec.subject = {{"2.5.4.3", std::string(proto::who::k_text_max, 'a')}};
    cr_assert_eq(names_of(spec).subject[0].value.size(), proto::who::k_text_max);
    spec.subject = {{"2.5.4.3", std::string(proto::who::k_text_max + 1, 'a')}};
    std::string refusal;
    names_of(spec, &refusal);
    cr_assert(!refusal.empty());
    spec.subject.clear();
    for (unsigned i = 0; i < proto::who::k_name_parts_max + 1; ++i)
        spec.subject.emplace_back("2.5.4.11", "unit");
    names_of(spec, &refusal);
    cr_assert_eq(refusal, "subject: a name has too many parts");
}

Test(names, alternative_names_are_read_by_kind) {
    CertificateSpec spec;
    spec.names = {{GNUTLS_SAN_DNSNAME, "host.example"},
                  {GNUTLS_SAN_URI, "spiffe://example/a"},
                  {GNUTLS_SAN_RFC822NAME, "alice@example"},
                  {GNUTLS_SAN_IPADDRESS, std::string("\xc0\x00\x02\x07", 4)},
                  {GNUTLS_SAN_IPADDRESS, std::string("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07", 16)}};
    const auto who = names_of(spec);
    std::string got;
    for (const auto& name : who.names) got += fmt::format("{}:{} ", static_cast<int>(name.kind), name.value);
    cr_assert_eq(got, "1:host.example 2:spiffe://example/a 3:alice@example 4:192.0.2.7 4:2001:db8::7 ", "%s",
                 got.c_str());
}

Test(names, an_alternative_name_with_nul_is_refused) {
    for (const char tag : {'\x81', '\x82', '\x86'}) {  // email, DNS, URI
        CertificateSpec spec;
        spec.raw_names = std::string("\x30\x0a", 2) + tag +
                         std::string(
                             "\x08"
                             "good\0bad",
                             9);
        std::string refusal;
        const auto who = names_of(spec, &refusal);
        cr_assert(!refusal.empty(), "tag %02x: %zu bytes were read", static_cast<unsigned char>(tag),
                  who.names.empty() ? 0 : who.names.front().value.size());
    }
}

Test(names, an_alternative_name_with_nul_at_its_end_is_refused) {
    CertificateSpec spec;
    spec.raw_names = std::string(
        "\x30\x07\x82\x05"
        "good\0",
        9);
    std::string refusal;
    const auto who = names_of(spec, &refusal);
    cr_assert(!refusal.empty(), "read as \"%s\"",
              who.names.empty() ? "" : escape(who.names.front().value).c_str());
}

Test(names, alternative_names_of_other_kinds_are_left_out) {
    CertificateSpec spec;
    spec.raw_names = std::string(
        "\x30\x0b\x88\x03\x2a\x03\x04\x82\x04"
        "good",
        13);  // a registered ID, then DNS
    const auto who = names_of(spec);
    cr_assert_eq(who.names.size(), 1);
    cr_assert_eq(who.names[0].value, "good");
}

Test(names, the_fingerprint_is_sha_256_of_the_certificate) {
    const Certificate ca(ca_spec("Test CA"), nullptr);
    proto::who::X509Facts who;
    cr_assert(read_names(ca.get(), who).has_value());
    const ByteVector der = ca.der();
    std::array<std::byte, 32> expected;
    cr_assert_eq(gnutls_fingerprint(GNUTLS_DIG_SHA256, std::array{to_datum(ByteView(der))}.data(),
                                    expected.data(), std::array{std::size_t{32}}.data()),
                 0);
    cr_assert(who.fingerprint == expected);
}
