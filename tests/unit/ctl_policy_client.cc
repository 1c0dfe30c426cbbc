// SPDX-License-Identifier: LGPL-2.1-or-later
// ctl_policy_client - "explain --cert" reads from a certificate what doorman does, and refuses what doorman
// refuses.
#include <criterion/criterion.h>
#include <fmt/format.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "ctl/files.h"
#include "ctl/pki/client.h"
#include "netd/doorman/x509_names.h"
#include "tests/unit/support/certificates.h"

using namespace virtgate;
using virtgate::test::Certificate;
using virtgate::test::CertificateSpec;

namespace {

using namespace std::string_literals;

std::string path() { return fmt::format("/tmp/virtgate-test-client-{}.pem", getpid()); }

Result<proto::who::X509Facts> read_pem(const std::string& pem) {
    unlink(path().c_str());
    cr_assert(ctl::write_new_file(path(), pem, 0600).has_value());
    auto facts = ctl::pki::read_client(path());
    unlink(path().c_str());
    return facts;
}

// A value as ASN.1 has it: the tag of its type, its length, its bytes.
std::string value(int tag, const std::string& bytes) {
    cr_assert_lt(bytes.size(), 128u);
    return std::string{static_cast<char>(tag), static_cast<char>(bytes.size())} + bytes;
}

// Both read the same, or both refuse. True if they read it.
bool agree(const CertificateSpec& spec, const char* what) {
    const Certificate certificate(spec, nullptr);
    const ByteVector der = certificate.der();
    const auto chain = netd::doorman::parse_chain({ByteView(der)});
    cr_assert(chain.has_value(), "%s", what);
    proto::who::X509Facts theirs;
    const Done done = netd::doorman::read_names(chain->front().get(), theirs);
    const auto ours = read_pem(certificate.pem());
    cr_assert_eq(done.has_value(), ours.has_value(), "%s: %s", what,
                 done ? ours.error().text.c_str() : done.error().text.c_str());
    if (!done) return false;
    cr_assert_eq(theirs.serial, ours->serial, "%s", what);
    cr_assert_eq(theirs.subject_text, ours->subject_text, "%s", what);
    cr_assert(theirs.fingerprint == ours->fingerprint && theirs.subject == ours->subject, "%s", what);
    cr_assert(theirs.issuer == ours->issuer, "%s", what);
    cr_assert_eq(theirs.names.size(), ours->names.size(), "%s", what);
    for (std::size_t i = 0; i < theirs.names.size(); ++i) {
        cr_assert_eq(theirs.names[i].kind, ours->names[i].kind, "%s", what);
        cr_assert_eq(theirs.names[i].value, ours->names[i].value, "%s: %s, %s", what,
                     theirs.names[i].value.c_str(), ours->names[i].value.c_str());
    }
    return true;
}

bool agree_on_value(int tag, const std::string& bytes, const char* what) {
    CertificateSpec spec;
    spec.raw_subject = {{"2.5.4.3", value(tag, bytes)}};
    spec.subject.clear();
    return agree(spec, what);
}

}  // namespace

Test(client, is_read_as_doorman_reads_it) {
    CertificateSpec spec;
    spec.subject = {{"2.5.4.6", "GB"},         {"2.5.4.10", "Example, Ltd"},
                    {"2.5.4.11", "a"},         {"2.5.4.11", "b"},
                    {"2.5.4.3", "x,CN=admin"}, {"1.2.840.113549.1.9.1", "a@example.org"}};
    spec.names = {{GNUTLS_SAN_DNSNAME, "kvm01.example.org"},
                  {GNUTLS_SAN_URI, "spiffe://example.org/a"},
                  {GNUTLS_SAN_RFC822NAME, "a@example.org"},
                  {GNUTLS_SAN_IPADDRESS, "\xc0\x00\x02\x07"s},
                  {GNUTLS_SAN_IPADDRESS, "\x20\x01\x0d\xb8"s + std::string(11, '\0') + "\x07"}};
    cr_assert(agree(spec, "many names"));
    const auto facts = read_pem(Certificate(spec, nullptr).pem());
    cr_assert_eq(facts->subject.size(), 6u);
    cr_expect_eq(facts->subject[4].value, "x,CN=admin");
    cr_assert_eq(facts->names.size(), 5u);
    cr_expect_eq(facts->names[4].value, "2001:db8::7");
}

Test(client, agrees_with_doorman_on_every_type_of_string) {
    cr_expect(agree_on_value(12, "Zo\xc3\xab", "UTF8String"));
    cr_expect(agree_on_value(19, "plain", "PrintableString"));
    cr_expect(agree_on_value(22, "a@b", "IA5String"));
    cr_expect(agree_on_value(30, "\x00Z\x00o\x00\xeb"s, "BMPString"));
    cr_expect(agree_on_value(28, "\x00\x00\x00Z\x00\x01\xf6\x00"s, "UniversalString"));
    cr_expect_not(agree_on_value(12, "Zo\xeb", "UTF8String that is none"));
    cr_expect_not(agree_on_value(20, "Zo\xeb", "TeletexString beyond ASCII"));
    cr_expect_not(agree_on_value(12, "a\0b"s, "NUL"));
    cr_expect_not(agree_on_value(12, "a\nb", "newline"));
    cr_expect_not(agree_on_value(19, "a\x7f", "DEL"));
    cr_expect_not(agree_on_value(12, "a\xc2\x85", "a control character of Latin-1"));
    cr_expect_not(agree_on_value(30, "\x00"s, "half a character"));
    cr_expect_not(agree_on_value(30, "\xd8\x00"s, "half a pair of surrogates"));
    cr_expect_not(agree_on_value(28, "\x00\x11\x00\x00"s, "beyond Unicode"));
    static_cast<void>(agree_on_value(12, "", "empty"));
    static_cast<void>(agree_on_value(4, "bytes", "OCTET STRING"));
}

Test(client, agrees_with_doorman_on_alternative_names) {
    // GeneralName of RFC 5280: 1 an address of mail, 2 a name of the DNS, 4 a directory's, 6 a URI, 7 an
    // address.
    const auto agree_on = [](int kind, const std::string& name, const char* what) {
        CertificateSpec spec;
        spec.raw_names = value(0x30, value(0x80 + kind, name));
        return agree(spec, what);
    };
    cr_expect(agree_on(2, "a.example.org", "a name"));
    cr_expect_not(agree_on(2, "a\0b"s, "NUL"));
    cr_expect_not(agree_on(6, "x\ny", "newline"));
    cr_expect_not(agree_on(1, "\xff@x", "no UTF-8"));
    cr_expect_not(agree_on(7, "abc", "three bytes"));
    cr_expect(agree_on(8, "\x2a\x03", "an object identifier, of which no policy speaks"));
    CertificateSpec crowd;
    for (int i = 0; i < 64; ++i) crowd.names.emplace_back(GNUTLS_SAN_DNSNAME, fmt::format("h{}", i));
    cr_expect(agree(crowd, "64 names"));
    crowd.names.emplace_back(GNUTLS_SAN_DNSNAME, "one-more");
    cr_expect_not(agree(crowd, "65 names"));
    CertificateSpec wide;
    wide.names = {{GNUTLS_SAN_DNSNAME, std::string(2000, 'a')}};
    cr_expect_not(agree(wide, "2000 bytes"));
}

Test(client, needs_a_certificate) {
    cr_expect_not(read_pem("").has_value());
    cr_expect_not(read_pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").has_value());
    cr_expect_not(ctl::pki::read_client("/no/such/file").has_value());
    // Of several, the first is the client's own.
    CertificateSpec other;
    other.subject = {{"2.5.4.3", "other"}};
    const auto facts = read_pem(Certificate({}, nullptr).pem() + Certificate(other, nullptr).pem());
    cr_assert(facts.has_value());
    cr_expect_eq(facts->subject.at(0).value, "client");
}
