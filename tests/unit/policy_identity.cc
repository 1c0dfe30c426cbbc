// SPDX-License-Identifier: LGPL-2.1-or-later
// policy_identity - which clients an [identity.NAME] matches, and what is said about wrong ones.
#include <criterion/criterion.h>
#include <grp.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "policy/network.h"
#include "policy/parse.h"
#include "policy/resolve.h"
#include "policy/table.h"
#include "proto/codec.h"

using namespace virtgate;
using namespace virtgate::policy;
using proto::who::AlternativeNameKind;
using proto::who::Who;

namespace {

// ---- the clients ----------------------------------------

Who from(std::string_view listener, std::string_view source, std::uint32_t strength) {
    Who who;
    who.listener = listener;
    who.source = source;
    who.strength = strength;
    return who;
}

// A host's certificate: several alternative names, issued by "Staff CA" of "Example".
Who host() {
    Who who = from("tls", "10.20.30.40", 256);
    auto& facts = who.certificate.emplace();
    facts.subject = {{"C", "DE"}, {"O", "Example"}, {"OU", "Operators"}, {"OU", "Night"}, {"CN", "kvm07"}};
    facts.issuer = {{"O", "Example"}, {"CN", "Staff CA"}};
    facts.names = {{AlternativeNameKind::name_dns, "kvm07.dc1.example.org"},
                   {AlternativeNameKind::name_dns, "alias.example.org"},
                   {AlternativeNameKind::name_uri, "spiffe://example.org/kvm07"},
                   {AlternativeNameKind::name_email, "root@kvm07.example.org"},
                   {AlternativeNameKind::name_ip, "2001:db8::7"}};
    facts.serial = "00a1b2";
    facts.fingerprint.fill(std::byte{0xab});
    return who;
}

// A CA without manners: names that look like several.
Who sly() {
    Who who = host();
    who.certificate->subject = {{"CN", "x,CN=admin"}, {"O", "Example,OU=Operators"}};
    who.certificate->issuer = {{"CN", "Staff CA,O=Example"}, {"CN", "Staff CA"}};
    who.certificate->names = {{AlternativeNameKind::name_dns, "evil.org,kvm07.dc1.example.org"},
                              {AlternativeNameKind::name_uri, "kvm07.dc1.example.org"}};
    return who;
}

Who alice() {
    Who who = from("tcp", "2001:db8:1::5", 56);
    who.login = {.mechanism = "GSSAPI", .name = "alice@OPS.EXAMPLE.ORG"};
    return who;
}

// The host, and alice at it.
Who both() {
    Who who = host();
    who.login = alice().login;
    return who;
}

Who local() {
    Who who = from("unix", "", 0);
    who.local.emplace();
    who.local_counts = true;
    who.local->uid = 1000;
    who.local->gid = 1000;
    who.local->groups = {27, 108};
    who.local->pid = 4711;
    return who;
}

Who root() {
    Who who = from("unix-ro", "", 0);
    who.local.emplace();
    who.local_counts = true;
    return who;
}

// A local user who also logged in.
Who local_alice() {
    Who who = local();
    who.login = {.mechanism = "SCRAM-SHA-256", .name = "alice"};
    return who;
}

// The same user at a socket that takes no account of the kernel's word.
Who uncounted() {
    Who who = local();
    who.local_counts = false;
    who.login = {.mechanism = "PLAIN", .name = "dora"};
    return who;
}

const std::vector<std::pair<std::string, Who>>& everybody() {
    static const std::vector<std::pair<std::string, Who>> k_all{{"host", host()},
                                                                {"sly", sly()},
                                                                {"alice", alice()},
                                                                {"both", both()},
                                                                {"local", local()},
                                                                {"root", root()},
                                                                {"local_alice", local_alice()},
                                                                {"uncounted", uncounted()},
                                                                {"nobody", from("tls", "10.20.30.40", 256)}};
    return k_all;
}

// ---- the machinery ----------------------------------------

std::string file_of(std::string_view conditions) {
    return "version = 1\n[identity.a]\n" + std::string(conditions) +
           "\n[[binding]]\nidentity = 'a'\nrole = 'admin'\n";
}

struct Compiled {
    proto::policy::PolicyTable table{};
    std::string complaints{};
};

Compiled compile(std::string_view conditions) {
    Source source;
    Complaints complaints;
    parse_file(file_of(conditions), "p", source, complaints);
    Compiled compiled{.table = resolve(source, complaints), .complaints = {}};
    for (const Complaints::Line& line : complaints.lines())
        compiled.complaints += (compiled.complaints.empty() ? "" : "\n") + line.text;
    return compiled;
}

// The names of those whom the conditions let in, after a trip through the compiled form.
std::string matched(std::string_view conditions) {
    const Compiled compiled = compile(conditions);
    cr_assert(compiled.complaints.empty(), "%s", compiled.complaints.c_str());
    const auto bytes = proto::encode(compiled.table);
    const auto table = Table::decode(*bytes);
    cr_assert(table.has_value());
    std::string names;
    for (const auto& [name, who] : everybody())
        if (table->match(who).rule != nullptr) names += (names.empty() ? "" : " ") + name;
    return names;
}

std::string name_of_own_group() {
    const group* entry = getgrgid(0);
    cr_assert_not_null(entry);
    return entry->gr_name;
}

constexpr std::string_view k_fingerprint = "abababababababababababababababababababababababababababababababab";

struct Case {
    std::string conditions;
    std::string expected;
};

void check_matches(const std::vector<Case>& cases) {
    for (const Case& each : cases) {
        const std::string got = matched(each.conditions);
        cr_expect(got == each.expected, "%s: got \"%s\", wanted \"%s\"", each.conditions.c_str(), got.c_str(),
                  each.expected.c_str());
    }
}

void check_complaints(const std::vector<Case>& cases) {
    for (const Case& each : cases) {
        const std::string got = compile(each.conditions).complaints;
        cr_expect(got == each.expected, "%s: got\n%s\nwanted\n%s", each.conditions.c_str(), got.c_str(),
                  each.expected.c_str());
    }
}

}  // namespace

Test(identity, matches_certificates) {
    check_matches({
        {"x509 = { CN = 'kvm07' }", "host both"},
        {"x509 = { CN = 'admin' }", ""},
        {"x509 = { CN = 'glob:*admin' }", "sly"},  // one value, and the administrator asked for its end
        {"x509 = { CN = 'kvm07', O = 'Example', C = 'DE' }", "host both"},
        {"x509 = { CN = 'kvm07', O = 'Other' }", ""},
        {"x509 = { OU = 'Operators' }", ""},  // there are two, and one may be anybody's
        {"x509 = { O = 'glob:Example*' }", "host sly both"},
        {"x509 = { '2.5.4.99' = 'x' }", ""},
        {"x509 = { issuer = { CN = 'Staff CA' } }", "host both"},
        {"x509 = { CN = 'kvm07', issuer = { CN = 'Staff CA', O = 'Example' } }", "host both"},
        {"x509 = { CN = 'kvm07', issuer = { CN = 'Other CA' } }", ""},
        {"x509 = { serial = 'A1:B2' }", "host sly both"},
        {"x509 = { serial = '0000a1b2' }", "host sly both"},
        {"x509 = { serial = 'a1b20' }", ""},
        {"x509 = { CN = 'kvm07', fingerprint = '" + std::string(k_fingerprint) + "' }", "host both"},
        {"x509 = { fingerprint = 'AB:" + std::string(k_fingerprint.substr(2)) + "' }", "host sly both"},
        {"x509 = { fingerprint = 'ac" + std::string(k_fingerprint.substr(2)) + "' }", ""},
    });
}

Test(identity, matches_any_one_alternative_name) {
    check_matches({
        {"x509 = { san_dns = 'kvm07.dc1.example.org' }", "host both"},
        {"x509 = { san_dns = 'alias.example.org' }", "host both"},
        {"x509 = { san_dns = 'glob:kvm??.dc1.example.org' }", "host both"},
        {"x509 = { san_dns = 'glob:kvm?.dc1.example.org' }", ""},
        {"x509 = { san_dns = 'KVM07.dc1.example.org' }", ""},
        {"x509 = { san_uri = 'spiffe://example.org/kvm07' }", "host both"},
        {"x509 = { san_uri = 'kvm07.dc1.example.org' }", "sly"},  // a name of another kind
        {"x509 = { san_email = 'root@kvm07.example.org' }", "host both"},
        {"x509 = { san_ip = '2001:DB8:0::7' }", "host both"},
        {"x509 = { san_ip = '2001:db8::8' }", ""},
        {"x509 = { san_dns = 'alias.example.org', san_uri = 'glob:spiffe://example.org/*' }", "host both"},
        {"x509 = { san_dns = 'alias.example.org', san_email = 'x@y' }", ""},
    });
}

Test(identity, matches_logins) {
    check_matches({
        {"sasl = 'alice@OPS.EXAMPLE.ORG'", "alice both"},  // also when a certificate was shown
        {"sasl = 'glob:*@OPS.EXAMPLE.ORG'", "alice both"},
        {"sasl = 'alice'", "local_alice"},
        {"sasl = 'glob:*'", "alice both local_alice uncounted"},
        {"sasl = 'glob:*'\nmechanism = 'GSSAPI'", "alice both"},
        {"sasl = 'glob:*'\nmechanism = ['PLAIN', 'SCRAM-SHA-256']", "local_alice uncounted"},
        {"sasl = 'alice@ops.example.org'", ""},
        {"sasl = 'glob:alice@*'\nx509 = { CN = 'kvm07' }", "both"},
        {"sasl = 'glob:*'\nunix = { uid = 1000 }", "local_alice"},
        {"sasl = 'glob:*'\nrequire = { client_cert = true }", "both"},
    });
}

Test(identity, matches_local_users) {
    const std::string group = name_of_own_group();
    check_matches({
        {"unix = { uid = 1000 }", "local local_alice"},
        {"unix = { uid = 0 }", "root"},
        {"unix = { user = 'root' }", "root"},
        {"unix = { user = 'root', uid = 0 }", "root"},
        {"unix = { gid = 1000 }", "local local_alice"},
        {"unix = { gid = 27 }", "local local_alice"},
        {"unix = { gid = 28 }", ""},
        {"unix = { group = '" + group + "' }", "root"},
        {"unix = { uid = 1000, gid = 108 }", "local local_alice"},
        {"unix = { uid = 1, gid = 108 }", ""},
        {"unix = { gid = 27, group = '" + group + "' }", ""},
    });
}

Test(identity, matches_where_clients_come_from) {
    const std::string cn = "x509 = { CN = 'kvm07' }\n", any_login = "sasl = 'glob:*'\n";
    check_matches({
        {cn + "source = '10.20.0.0/16'", "host both"},
        {cn + "source = ['192.0.2.0/24', '10.20.30.40']", "host both"},
        {cn + "source = '10.20.30.41'", ""},
        {cn + "source = '10.20.30.40/31'", "host both"},
        {cn + "source = '0.0.0.0/0'", "host both"},
        {cn + "source = '::/0'", ""},
        {any_login + "source = '2001:db8::/32'", "alice"},
        {any_login + "source = ['2001:db8:1::5/128']", "alice"},
        {any_login + "source = '2001:db8:2::/48'", ""},
        {any_login + "require = { tls = true }", "both"},
        {any_login + "require = { tls = '1.3' }", "both"},
        {any_login + "require = { ssf = 56 }", "alice both"},
        {any_login + "require = { ssf = 57 }", "both"},
        {any_login + "require = { ssf = 128, tls = true, client_cert = true }", "both"},
    });
}

Test(identity, matches_one_of_several) {
    check_matches({
        {"any = [ { x509 = { CN = 'kvm07' } }, { unix = { uid = 0 } } ]", "host both root"},
        {"any = [ { sasl = 'alice' } ]", "local_alice"},
        {"any = [ { sasl = 'bob' }, { sasl = 'carol' } ]", ""},
        {"sasl = 'glob:*'\nany = [ { source = '10.0.0.0/8' }, { unix = { uid = 1000 } } ]",
         "both local_alice"},
        {"source = '10.0.0.0/8'\nany = [ { x509 = { CN = 'x,CN=admin' } }, { sasl = 'glob:*' } ]",
         "sly both"},
        {"any = [ { x509 = { OU = 'glob:*' } }, { sasl = 'glob:*@OPS.EXAMPLE.ORG', mechanism = ['GSSAPI'] }, "
         "{ unix = { gid = 108 } } ]",
         "alice both local local_alice"},
        {"[[identity.a.any]]\nsasl = 'alice'\n[[identity.a.any]]\nunix = { uid = 0 }", "root local_alice"},
    });
}

Test(identity, is_nobodys_when_the_table_says_nothing_about_who) {
    // Such a rule cannot be written; a table that has it anyway lets nobody in.
    proto::policy::PolicyTable table{.format = 5, .identities = {}};
    table.identities.emplace_back();
    table.identities.back().all.tls = true;
    for (const auto& [name, who] : everybody())
        cr_expect_null(Table(table).match(who).rule, "%s", name.c_str());
    table.identities.back().any.emplace_back();
    for (const auto& [name, who] : everybody())
        cr_expect_null(Table(table).match(who).rule, "%s", name.c_str());
    // A prefix that is longer than its address, or an address of no known length, holds no address.
    table.identities.back().all.login = {
        .name = {.kind = proto::policy::MatchKind::match_glob, .pattern = "*"}, .mechanisms = {}};
    table.identities.back().all.sources = {{.address = ByteVector(4), .prefix = 128},
                                           {.address = ByteVector(7), .prefix = 0}};
    for (const auto& [name, who] : everybody())
        cr_expect_null(Table(table).match(who).rule, "%s", name.c_str());
}

Test(identity, complaints_about_keys_and_types) {
    check_complaints({
        {"x509 = { CN = 'a' }\nsassl = 'x'",
         "p:4:1: error: unknown key \"sassl\" of an identity (did you mean \"sasl\"?)"},
        {"any = [ { sasll = 'x', unix = { uid = 1 } } ]",
         "p:3:11: error: unknown key \"sasll\" of an alternative (did you mean \"sasl\"?)"},
        {"any = [ { sasl = 'x', any = [] } ]", "p:3:23: error: unknown key \"any\" of an alternative"},
        {"unix = { gruop = 'x' }",
         "p:3:10: error: unknown key \"gruop\" of \"unix\" (did you mean \"group\"?)"},
        {"x509 = { san_dn = 'x' }",
         "p:3:10: error: unknown attribute \"san_dn\" (did you mean \"san_dns\"?)"},
        {"x509 = { issuer = { san_dns = 'x' } }", "p:3:21: error: unknown attribute \"san_dns\""},
        {"sasl = 'a'\nrequire = { tsl = true }",
         "p:4:13: error: unknown key \"tsl\" of \"require\" (did you mean \"tls\"?)"},
        {"x509 = 'CN=a'", "p:3:8: error: \"x509\" has to be a table of attributes"},
        {"sasl = ['a']", "p:3:8: error: \"sasl\" has to be a text"},
        {"unix = 0", "p:3:8: error: \"unix\" has to be a table of users and groups"},
        {"unix = {}", "p:3:8: error: an empty table of users and groups would match everybody"},
        {"x509 = { issuer = {} }", "p:3:19: error: an empty table of attributes would match everybody"},
        {"any = []", "p:3:7: error: \"any\" has to be a list of tables, of which one has to hold"},
        {"any = ['x']", "p:3:8: error: \"any\" has to be a list of tables, of which one has to hold"},
        {"sasl = 'a'\nrequire = { tls = false }",
         "p:4:19: error: \"tls\" has to be true or \"1.3\", the only version there is"},
        {"sasl = 'a'\nrequire = { tls = '1.2' }",
         "p:4:19: error: \"tls\" has to be true or \"1.3\", the only version there is"},
        {"sasl = 'a'\nrequire = { client_cert = 1 }",
         "p:4:27: error: \"client_cert\" has to be true; leave it out otherwise"},
        {"sasl = 'a'\nrequire = { ssf = 0 }",
         "p:4:19: error: \"ssf\" has to be a number of bits from 1 to 1024"},
        {"unix = { uid = -1 }", "p:3:16: error: \"uid\" has to be a number from 0 to 4294967294"},
        {"unix = { gid = 4294967295 }", "p:3:16: error: \"gid\" has to be a number from 0 to 4294967294"},
        {"unix = { uid = 'root' }", "p:3:16: error: \"uid\" has to be a number from 0 to 4294967294"},
    });
}

Test(identity, complaints_about_values) {
    const std::string fingerprint =
        "error: \"fingerprint\" has to be the SHA-256 of the certificate: 64 hexadecimal digits, colons "
        "allowed";
    const std::string serial = "error: \"serial\" has to be a text of hexadecimal digits, not 0";
    check_complaints({
        {"x509 = { fingerprint = 'abab' }", "p:3:24: " + fingerprint},
        {"x509 = { fingerprint = 'sha256' }", "p:3:24: " + fingerprint},
        {"x509 = { fingerprint = '' }", "p:3:24: " + fingerprint},
        {"x509 = { serial = '00' }", "p:3:19: " + serial},
        {"x509 = { serial = '0x1' }", "p:3:19: " + serial},
        {"x509 = { serial = 17 }", "p:3:19: error: \"serial\" has to be a text"},
        {"x509 = { san_ip = '10.0.0.0/8' }", "p:3:19: error: \"san_ip\" has to be one IPv4 or IPv6 address"},
        {"x509 = { san_ip = 'glob:10.*' }", "p:3:19: error: \"san_ip\" has to be one IPv4 or IPv6 address"},
        {"sasl = ''", "p:3:8: error: an empty text matches nothing"},
        {"sasl = 'glob:[ab]'", "p:3:8: error: character sets are not supported in patterns"},
        {"sasl = 'a'\nmechanism = 'SCRAM-SHA256'",
         "p:4:13: warning: unknown mechanism \"SCRAM-SHA256\" (did you mean \"SCRAM-SHA-256\"?)"},
        {"mechanism = 'GSSAPI'",
         "p:3:1: error: \"mechanism\" says how \"sasl\" was proved: add sasl = \"NAME\", or \"glob:*\" for "
         "all"},
        {"unix = { user = 'no-such-user-here' }", "p:3:17: error: there is no user \"no-such-user-here\""},
        {"any = [ { sasl = 'a' }, { unix = { group = 'no-such-group' } } ]",
         "p:3:44: error: there is no group \"no-such-group\""},
        {"unix = { user = 'glob:*' }", "p:3:17: error: \"user\" has to be one name"},
        {"unix = { user = 'root', uid = 1 }",
         "p:3:17: error: nobody can match: the uid of \"root\" is 0, not 1"},
        {"sasl = 'a'\nsource = 'example.org'",
         "p:4:10: error: \"example.org\" is no address, and no range such as 192.0.2.0/24 or 2001:db8::/32"},
        {"sasl = 'a'\nsource = ['10.0.0.0/8', '10.1.2.3/16']",
         "p:4:25: error: the address has bits behind its prefix: did you mean \"10.1.0.0/16\" or "
         "\"10.1.2.3\"?"},
        {"sasl = 'a'\nsource = '10.0.0.0/33'",
         "p:4:10: error: the number behind the \"/\" has to be 0 to 32"},
        {"sasl = 'a'\nsource = '2001:db8::/'",
         "p:4:10: error: the number behind the \"/\" has to be 0 to 128"},
        {"sasl = 'a'\nsource = '::ffff:10.0.0.1'",
         "p:4:10: error: write an IPv4 address as such, without \"::ffff:\""},
        {"sasl = 'a'\nsource = []", "p:4:10: error: \"source\" has to be a text or a list of texts"},
    });
}

Test(identity, complaints_about_everybody_and_nobody) {
    const std::string nobody =
        "error: nobody can match: a client with \"unix\" has no address, no certificate and no encryption";
    check_complaints({
        {"", "p:2:11: error: the identity \"a\" has no conditions"},
        {"source = '10.0.0.0/8'",
         "p:2:11: error: the identity \"a\" would match everybody who comes that way: add \"x509\", \"sasl\" "
         "or "
         "\"unix\""},
        {"require = { client_cert = true }",
         "p:2:11: error: the identity \"a\" would match everybody who comes that way: add \"x509\", \"sasl\" "
         "or "
         "\"unix\""},
        {"any = [ { sasl = 'a' }, { source = '10.0.0.0/8' } ]",
         "p:3:25: error: this alternative would match everybody who comes that way: add \"x509\", \"sasl\" "
         "or "
         "\"unix\""},
        {"any = [ {} ]", "p:3:9: error: this alternative has no conditions"},
        {"unix = { uid = 0 }\nsource = '10.0.0.0/8'", "p:2:11: " + nobody},
        {"unix = { uid = 0 }\nrequire = { ssf = 56 }", "p:2:11: " + nobody},
        {"x509 = { CN = 'a' }\nany = [ { sasl = 'a' }, { unix = { uid = 0 } } ]", "p:4:25: " + nobody},
    });
}

Test(network, compares_prefixes_bit_by_bit) {
    struct {
        const char* network;
        const char* address;
        bool lies_in;
    } const k_cases[] = {
        {"192.0.2.128/25", "192.0.2.200", true},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"192.0.2.4/30", "192.0.2.7", true},
        {"192.0.2.4/30", "192.0.2.8", false},
        {"0.0.0.0/0", "255.255.255.255", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "::1", true},
        {"::/0", "10.0.0.1", false},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"10.0.0.0/8", "", false},
        {"10.0.0.0/8", "10.0.0.1 ", false},
        {"10.0.0.0/8", "10.1", false},
        {"10.0.0.0/8", "::ffff:10.0.0.1", false},
    };
    for (const auto& each : k_cases) {
        const auto network = parse_network(each.network);
        cr_assert(network.has_value(), "%s", each.network);
        cr_expect_eq(lies_in_one(each.address, {*network}), each.lies_in, "%s in %s", each.address,
                     each.network);
    }
}
