// SPDX-License-Identifier: LGPL-2.1-or-later
// ctl_policy_client - "explain --cert" reads the certificate in a file as doorman reads that of a handshake.
#include <criterion/criterion.h>
#include <fmt/format.h>
#include <unistd.h>

#include <string>

#include "ctl/files.h"
#include "ctl/pki/client.h"
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
