// SPDX-License-Identifier: LGPL-2.1-or-later
// x509_names - which names are read from a certificate, and which are refused.
#include <criterion/criterion.h>
#include <fmt/format.h>

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "libshared/base/handle.h"
#include "libshared/x509/names.h"
#include "tests/unit/support/certificates.h"

using namespace virtgate;
using namespace virtgate::x509;
using virtgate::test::Certificate;
using virtgate::test::CertificateSpec;

namespace {

using namespace std::string_literals;
using Imported = std::unique_ptr<gnutls_x509_crt_int, FreeWith<gnutls_x509_crt_deinit>>;

gnutls_datum_t to_datum(ByteVector& bytes) {
    return {reinterpret_cast<unsigned char*>(bytes.data()), static_cast<unsigned>(bytes.size())};
}

// As it would come from the network.
Imported import_der(ByteVector der) {
    gnutls_x509_crt_t raw = nullptr;
    cr_assert_eq(gnutls_x509_crt_init(&raw), 0);
    Imported certificate(raw);
    const gnutls_datum_t datum = to_datum(der);
    cr_assert_eq(gnutls_x509_crt_import(raw, &datum, GNUTLS_X509_FMT_DER), 0);
    return certificate;
}

// The facts of a certificate that is read; with `refusal`, of one that may be refused: why, or "".
proto::who::X509Facts names_of(const CertificateSpec& spec, std::string* refusal = nullptr) {
    CertificateSpec of_ca;
    of_ca.subject = {{"2.5.4.3", "Test CA"}};
    of_ca.is_ca = true;
    const Certificate ca(of_ca, nullptr);
    const Certificate certificate(spec, &ca);
    proto::who::X509Facts who;
    const Done done = read_names(import_der(certificate.der()).get(), who);
    if (refusal != nullptr)
        *refusal = done ? "" : done.error().text;
    else
        cr_assert(done.has_value(), "%s", done ? "" : done.error().text.c_str());
    return who;
}

// A value as ASN.1 has it: the tag of its type, its length, its bytes.
std::string value(int tag, const std::string& bytes) {
    cr_assert_lt(bytes.size(), 128u);
    return std::string{static_cast<char>(tag), static_cast<char>(bytes.size())} + bytes;
}

// The CN whose bytes have the type `tag`, as it is read; none if the certificate is refused.
std::optional<std::string> common_name(int tag, const std::string& bytes) {
    CertificateSpec spec;
    spec.raw_subject = {{"2.5.4.3", value(tag, bytes)}};
    spec.subject.clear();
    std::string refusal;
    const auto who = names_of(spec, &refusal);
    if (refusal.empty()) return who.subject.at(0).value;
    cr_expect(refusal.starts_with("subject: CN=\"") && refusal.ends_with("\" is not plain text"), "%s",
              refusal.c_str());
    cr_expect(is_plain_text(refusal));
    return std::nullopt;
}

// The alternative name of the kind that RFC 5280 numbers so: 1 an address of mail, 2 a name of the DNS, 6 a URI, 7 an
// address; none if the certificate is refused.
std::optional<std::string> alternative_name(int kind, const std::string& bytes) {
    CertificateSpec spec;
    spec.raw_names = value(0x30, value(0x80 + kind, bytes));
    std::string refusal;
    const auto who = names_of(spec, &refusal);
    if (!refusal.empty()) return std::nullopt;
    cr_assert_eq(who.names.size(), 1u);
    return who.names[0].value;
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
    cr_expect_eq(common_name(12, "Zürich 漢字 😀"), "Zürich 漢字 😀");
    cr_expect_eq(common_name(18, "123"), "123");
    cr_expect_eq(common_name(19, "plain"), "plain");
    cr_expect_eq(common_name(20, "plain"), "plain");
    cr_expect_eq(common_name(22, "a@b"), "a@b");
    cr_expect_eq(common_name(26, "plain"), "plain");
    cr_expect_eq(common_name(30, "\x00Z\x00\xe9\x6f\x22"s), "Zé漢", "BMPString");
    cr_expect_eq(common_name(28, "\x00\x00\x00Z\x00\x01\xf6\x00"s), "Z😀", "UniversalString");
}

Test(names, with_nul_control_characters_or_broken_text_are_refused) {
    struct Case {
        int tag;
        std::string bytes;
        const char* what;
    };
    const Case cases[] = {
        {12, "admin\0.evil"s, "NUL"},
        {30, "\x00x\x00\x00\x00y"s, "NUL in a BMPString"},
        {12, "a\nb", "newline"},
        {12, "x\x1by", "escape"},
        {19, "x\x7f", "DEL"},
        {12, "a\xc2\x85", "C1 control"},
        {12, "Zo\xeb", "not UTF-8"},
        {12, "\xc0\x80", "overlong"},
        {30, "\xd8\x00"s, "half a pair of surrogates"},
        {30, "\x00x\x00"s, "half a character"},
        {28, "\x00\x11\x00\x00"s, "beyond Unicode"},
        {20, "Zo\xeb", "Latin-1 in a TeletexString"},
        {22, "Zo\xeb", "Latin-1 in an IA5String"},
        {4, "bytes", "an OCTET STRING"},
        {2, "A", "an integer"},
    };
    for (const auto& [tag, bytes, what] : cases)
        cr_expect_eq(common_name(tag, bytes), std::nullopt, "%s", what);
}

Test(names, that_are_too_long_or_too_many_are_refused) {
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

    CertificateSpec crowd;
    for (unsigned i = 0; i < proto::who::k_alternative_names_max; ++i)
        crowd.names.emplace_back(GNUTLS_SAN_DNSNAME, fmt::format("h{}", i));
    cr_assert_eq(names_of(crowd).names.size(), proto::who::k_alternative_names_max);
    crowd.names.emplace_back(GNUTLS_SAN_DNSNAME, "one-more");
    names_of(crowd, &refusal);
    cr_assert_eq(refusal, "the certificate has too many alternative names");
    CertificateSpec wide;
    wide.names = {{GNUTLS_SAN_DNSNAME, std::string(2 * proto::who::k_text_max, 'a')}};
    names_of(wide, &refusal);
    cr_assert(!refusal.empty());
}

Test(names, alternative_names_are_read_by_kind) {
    CertificateSpec spec;
    spec.names = {{GNUTLS_SAN_DNSNAME, "host.example"},
                  {GNUTLS_SAN_URI, "spiffe://example/a"},
                  {GNUTLS_SAN_RFC822NAME, "alice@example"},
                  {GNUTLS_SAN_IPADDRESS, "\xc0\x00\x02\x07"s},
                  {GNUTLS_SAN_IPADDRESS, "\x20\x01\x0d\xb8"s + std::string(11, '\0') + "\x07"}};
    const auto who = names_of(spec);
    std::string got;
    for (const auto& name : who.names) got += fmt::format("{}:{} ", static_cast<int>(name.kind), name.value);
    cr_assert_eq(got, "1:host.example 2:spiffe://example/a 3:alice@example 4:192.0.2.7 4:2001:db8::7 ", "%s",
                 got.c_str());
}

Test(names, alternative_names_that_are_no_text_or_no_address_are_refused) {
    for (const int kind : {1, 2, 6}) {
        cr_expect_eq(alternative_name(kind, "good.example"), "good.example", "kind %d", kind);
        cr_expect_eq(alternative_name(kind, "good\0bad"s), std::nullopt, "kind %d: NUL", kind);
        cr_expect_eq(alternative_name(kind, "good\0"s), std::nullopt, "kind %d: NUL at its end", kind);
        cr_expect_eq(alternative_name(kind, "x\ny"), std::nullopt, "kind %d: newline", kind);
        cr_expect_eq(alternative_name(kind, "\xffx"), std::nullopt, "kind %d: no UTF-8", kind);
    }
    cr_expect_eq(alternative_name(7, "abc"), std::nullopt, "an address of three bytes");
}

Test(names, alternative_names_of_other_kinds_are_left_out) {
    CertificateSpec spec;
    spec.raw_names =
        value(0x30, value(0x88, "\x2a\x03\x04") + value(0x82, "good"));  // a registered ID, then DNS
    const auto who = names_of(spec);
    cr_assert_eq(who.names.size(), 1);
    cr_assert_eq(who.names[0].value, "good");
}

Test(names, the_fingerprint_is_sha_256_of_the_certificate) {
    const Certificate certificate({}, nullptr);
    proto::who::X509Facts who;
    ByteVector der = certificate.der();
    cr_assert(read_names(import_der(der).get(), who).has_value());
    std::array<std::byte, 32> expected;
    cr_assert_eq(gnutls_fingerprint(GNUTLS_DIG_SHA256, std::array{to_datum(der)}.data(), expected.data(),
                                    std::array{std::size_t{32}}.data()),
                 0);
    cr_assert(who.fingerprint == expected);
}
