// SPDX-License-Identifier: LGPL-2.1-or-later
// ctl_policy_client - "explain --cert" reads the certificate in a file as doorman reads that of a handshake.
#include <criterion/criterion.h>
#include <fmt/format.h>
#include <unistd.h>

#include <string>

#include "ctl/files.h"
#include "ctl/pki/client.h"
#include "ctl/policy/subject.h"
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

}  // namespace

Test(client, is_read_as_doorman_reads_it) {
    CertificateSpec spec;
    spec.subject = {{"2.5.4.6", "GB"}, {"2.5.4.11", "a"}, {"2.5.4.11", "b"}, {"2.5.4.3", "x,CN=admin"}};
    spec.names = {{GNUTLS_SAN_DNSNAME, "kvm01.example.org"}, {GNUTLS_SAN_IPADDRESS, "\xc0\x00\x02\x07"s}};
    const auto facts = read_pem(Certificate(spec, nullptr).pem());
    cr_assert(facts.has_value(), "%s", facts ? "" : facts.error().text.c_str());
    cr_assert_eq(facts->subject.size(), 4u);
    cr_expect_eq(facts->subject[3].attribute, "CN");
    cr_expect_eq(facts->subject[3].value, "x,CN=admin");
    cr_assert_eq(facts->names.size(), 2u);
    cr_expect_eq(facts->names[1].value, "192.0.2.7");
    cr_expect(facts->chain.empty());
}

Test(client, is_refused_as_doorman_refuses_it) {
    CertificateSpec spec;
    spec.subject = {{"2.5.4.3", "a\nb"}};
    const auto facts = read_pem(Certificate(spec, nullptr).pem());
    cr_assert_not(facts.has_value());
    cr_expect_eq(facts.error().fault, Fault::peer);
    cr_expect_eq(facts.error().text,
                 path() + ": doorman refuses this certificate: subject: CN=\"a\\x0ab\" is not plain text",
                 "%s", facts.error().text.c_str());
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

namespace {

// "CN|alice;O|Acme", or "error: " and why not.
std::string read_subject(std::string_view text) {
    const auto parts = ctl::policy::parse_subject(text);
    if (!parts) return "error: " + parts.error().text;
    std::string all;
    for (const auto& part : *parts)
        all += fmt::format("{}{}|{}", all.empty() ? "" : ";", part.attribute, part.value);
    return all;
}

}  // namespace

Test(subject, is_read_as_rfc_4514_has_it) {
    const std::pair<std::string_view, std::string_view> rows[] = {
        {"CN=alice,O=Acme", "CN|alice;O|Acme"},
        {" CN = alice , O = Acme Inc ", "CN|alice;O|Acme Inc"},
        {"CN=Acme\\, Inc.,O=a\\+b", "CN|Acme, Inc.;O|a+b"},
        {"CN=James \\\"Jim\\\" Smith\\, III", "CN|James \"Jim\" Smith, III"},
        {"OU=Sales+CN=J. Smith,O=x", "OU|Sales;CN|J. Smith;O|x"},
        {"CN=Lu\\C4\\8Di\\C4\\87", "CN|Lučić"},
        {"CN=\\20a\\ ,O=\\#1", "CN| a ;O|#1"},
        {"CN=\"Acme, Inc.\" ,O=x", "CN|Acme, Inc.;O|x"},
        {"CN=a=b,O=", "CN|a=b;O|"},
    };
    for (const auto& [text, wanted] : rows)
        cr_expect_eq(read_subject(text), wanted, "%s", read_subject(text).c_str());
    for (const std::string_view wrong :
         {"alice", "CN=a,", "CN=a\\", "CN=a\\x", "CN=\"a", "CN=\"a\"b", "CN=#0403", "=a", "QQ=a", "CN=a\\00",
          "CN=a\\0ab", "CN=\\ff", ",CN=a"})
        cr_expect(read_subject(wrong).starts_with("error: "), "%s", std::string(wrong).c_str());
}
