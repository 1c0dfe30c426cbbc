// SPDX-License-Identifier: LGPL-2.1-or-later
// ctl_policy - the tools for policies: excerpts, requests, effects, explanations, near misses, matrices.
#include <criterion/criterion.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "ctl/policy/effects.h"
#include "ctl/policy/excerpt.h"
#include "ctl/policy/explanation.h"
#include "ctl/policy/identity_match.h"
#include "ctl/policy/matrix.h"
#include "tests/unit/ctl_policy_rig.h"

using namespace virtgate;
using namespace virtgate::ctl::policy;

namespace {

constexpr std::string_view k_policy = R"(version = 1
[role.reader]
allow = ["@read-domain"]
[role.operator]
include = ["reader"]
allow = ["@lifecycle", "proc:remote.DOMAIN_CREATE_WITH_FLAGS"]
deny = ["flag:DOMAIN_CREATE_WITH_FLAGS:START_PAUSED"]
[role.power]
allow = ["perm:domain:init_control", "perm:domain:write"]
[identity.alice]
x509 = { CN = "alice", O = "Acme" }
source = ["192.0.2.0/24"]
[identity.bob]
any = [ { sasl = "bob", mechanism = "GSSAPI" }, { unix = { uid = 7 } } ]
[identity.idle]
sasl = "idle"
[[binding]]
identity = "alice"
role = "operator"
objects = { domain = ["glob:web-*"], except = ["web-9"] }
when = { listener = ["tls"] }
[[binding]]
identity = "bob"
role = "reader"
objects = { domain = ["glob:*"] }
[[binding]]
identity = "bob"
role = "operator"
objects = { domain = ["db-1"] }
when = { not_after = "2001-01-01" }
[[binding]]
identity = "bob"
role = "power"
objects = { domain = ["db-2"] }
shadow = true
)";

Explanation explain_call(const Loaded& policy, const char* identity, const std::vector<std::string>& words,
                         const std::string& listener = "tls") {
    const auto request = parse_request(words);
    cr_assert(request.has_value(), "%s", request ? "" : request.error().text.c_str());
    const auto* rule = policy.table.find(identity);
    cr_assert_not_null(rule);
    return explain({.policy = policy, .rule = *rule, .request = *request, .listener = listener});
}

bool has_miss(const Explanation& explanation, std::string_view change, std::string_view part) {
    return std::any_of(explanation.near_misses.begin(), explanation.near_misses.end(),
                       [&](const NearMiss& miss) {
                           return miss.change == change && miss.text.find(part) != miss.text.npos;
                       });
}

std::string error_of(const std::vector<std::string>& words) {
    const auto request = parse_request(words);
    return request ? std::string{} : request.error().text;
}

}  // namespace

Test(excerpt, marks_the_word_that_begins_at_the_place) {
    cr_expect_eq(excerpt("a = [\"x y\", b]\n", 1, 6), "     1 | a = [\"x y\", b]\n       |      ^~~~~\n");
    cr_expect_eq(excerpt("one\ntwo = 3\r\n", 2, 1), "     2 | two = 3\n       | ^~~\n");
    cr_expect_eq(excerpt("[[binding]]", 1, 1), "     1 | [[binding]]\n       | ^~\n");
    cr_expect_eq(excerpt("k = 'it' # no", 1, 5), "     1 | k = 'it' # no\n       |     ^~~~\n");
}

Test(excerpt, counts_characters_and_shows_no_control) {
    cr_expect_eq(excerpt("\"\xc3\xa4\xc3\xb6\" = x", 1, 8),
                 "     1 | \"\xc3\xa4\xc3\xb6\" = x\n       |        ^\n");
    cr_expect_eq(excerpt("a\t\x1b[2J = 1", 1, 9), "     1 | a ?[2J = 1\n       |         ^\n");
    cr_expect_eq(excerpt("\xff = 1", 1, 1), "     1 | ? = 1\n       | ^\n");
}

Test(excerpt, is_empty_where_there_is_nothing_and_short_where_there_is_much) {
    cr_expect_eq(excerpt("one", 2, 1), "");
    cr_expect_eq(excerpt("one", 1, 4), "");
    cr_expect_eq(excerpt("one", 0, 1), "");
    const std::string line = excerpt(std::string(100000, 'x'), 1, 50000);
    cr_expect_lt(line.size(), 400u);
    cr_expect_neq(line.find("...x"), std::string::npos);
    // A text that never ends, and a backslash at the end of the line.
    cr_expect_eq(excerpt("\"abc\\", 1, 1), "     1 | \"abc\\\n       | ^~~~~\n");
}

Test(requests, are_read_from_words) {
    const auto request =
        parse_request({"qemu.domain_monitor_command",
                       "domain=web-1,uuid:7a0bb41b-68b2-4683-84e5-9502892bea09", "flags=0x1"});
    cr_assert(request.has_value());
    cr_expect_eq(request->program->name, "qemu");
    cr_expect_eq(request->flags, 1u);
    cr_assert_eq(request->objects().size(), 1u);
    cr_expect_eq(request->objects()[0].name, "web-1");
    cr_expect(request->objects()[0].uuid.has_value());
    cr_expect_eq(parse_request({"DOMAIN_CREATE", "domain=a=b"})->names[0].second, "a=b");
}

Test(requests, that_are_wrong_say_what_would_be_right) {
    cr_expect_neq(error_of({"DOMAIN_CRATE"}).find("did you mean \"DOMAIN_CREATE\""), std::string::npos);
    cr_expect_neq(error_of({"quemu.X"}).find("no program"), std::string::npos);
    cr_expect_neq(error_of({"DOMAIN_CREATE", "domian=x"}).find("did you mean \"domain\""), std::string::npos);
    cr_expect_neq(error_of({"DOMAIN_CREATE", "web-1"}).find("neither"), std::string::npos);
    cr_expect_neq(error_of({"DOMAIN_CREATE", "domain=x,uuid:12"}).find("no UUID"), std::string::npos);
    cr_expect_neq(error_of({"DOMAIN_CREATE_WITH_FLAGS", "flags=NO"}).find("no flag"), std::string::npos);
    cr_expect_neq(error_of({}).find("which call"), std::string::npos);
}

Test(clients, are_made_of_what_is_told_and_what_is_usual) {
    const auto plain = make_who({.subject = "CN=alice,emailAddress=a@b"});
    cr_assert(plain.has_value());
    cr_expect_eq(plain->listener, "tls");
    cr_expect_eq(plain->strength, 256u);
    cr_expect_eq(plain->certificate->subject[1].attribute, "EMAIL");
    const auto local = make_who({.uid = "7"});
    cr_assert(local.has_value());
    cr_expect(local->listener == "unix" && local->local->gid == 7 && local->strength == 0 &&
              local->local_counts);
    cr_expect(make_who({.listener = "unix-ro"})->read_only);
    cr_expect_eq(make_who({.sasl = "a", .listener = "tcp", .strength = "128"})->strength, 128u);
    for (const ClientWords& words :
         {ClientWords{.subject = "alice"}, ClientWords{.subject = "CM=alice"},
          ClientWords{.mechanism = "PLAIN"}, ClientWords{.listener = "tsl"}, ClientWords{.tls = "1.2"},
          ClientWords{.listener = "tcp", .tls = "1.3"}, ClientWords{.strength = "x"},
          ClientWords{.uid = "root"}, ClientWords{.gid = "1"},
          ClientWords{.certificate = "x", .subject = "CN=x"}, ClientWords{.certificate = "/no/such/file"}})
        cr_expect_not(make_who(words).has_value());
}

Test(explanations, name_the_words_that_decide) {
    const Loaded policy = load_text(k_policy);
    const Explanation yes = explain_call(policy, "alice", {"DOMAIN_CREATE", "domain=web-1"});
    cr_expect(yes.allowed && yes.reason == "allowed" && yes.near_misses.empty());
    cr_assert_eq(yes.bindings.size(), 1u);
    cr_assert(yes.bindings[0].decides && yes.bindings[0].allows.size() == 1);
    cr_expect_eq(yes.bindings[0].allows[0].text, "@lifecycle");
    cr_expect_eq(yes.bindings[0].allows[0].at.line, 6u);
    cr_expect_eq(yes.bindings[0].allows[0].at.column, 10u);
    cr_expect_eq(yes.identity_at.line, 10u);

    const Explanation no =
        explain_call(policy, "alice", {"DOMAIN_CREATE_WITH_FLAGS", "domain=web-1", "flags=START_PAUSED"});
    cr_expect(!no.allowed && no.reason == "deny-rule");
    cr_assert_eq(no.bindings[0].denies.size(), 1u);
    cr_expect_eq(no.bindings[0].denies[0].at.line, 7u);
    cr_expect(has_miss(no, "flags", "without flags the call is allowed"));
    cr_expect(has_miss(no, "deny", "flag:DOMAIN_CREATE_WITH_FLAGS:START_PAUSED"));
    const std::string text = to_text(no);
    cr_expect(text.starts_with("DENY  DOMAIN_CREATE_WITH_FLAGS domain=web-1"), "%s", text.c_str());
    cr_expect_neq(text.find("10.toml:7:9   <-- decides"), std::string::npos, "%s", text.c_str());
}

Test(explanations, follow_includes_and_permissions) {
    const Loaded policy = load_text(k_policy);
    const Explanation included = explain_call(policy, "alice", {"DOMAIN_GET_INFO", "domain=web-1"});
    cr_assert(included.allowed && included.bindings[0].allows.size() == 1);
    cr_expect_eq(included.bindings[0].allows[0].role, "reader");
    // A procedure that needs two permissions has both words as its origin.
    const Explanation shadowed = explain_call(policy, "bob", {"DOMAIN_PIN_VCPU", "domain=db-2"});
    cr_expect_not(shadowed.allowed);
    cr_assert_eq(shadowed.bindings.size(), 3u);
    const auto power = std::find_if(shadowed.bindings.begin(), shadowed.bindings.end(),
                                    [](const ExplainedBinding& each) { return each.role == "power"; });
    cr_expect(power->has_part && power->allows[0].text == "perm:domain:write");
    cr_expect(has_miss(shadowed, "shadow", "not on probation"));
    cr_expect_neq(shadowed.shadow.find("would allow it"), std::string::npos);
}

Test(explanations, say_what_would_be_enough) {
    const Loaded policy = load_text(k_policy);
    cr_expect(has_miss(explain_call(policy, "alice", {"DOMAIN_DESTROY", "domain=db-1"}), "objects",
                       "domain=glob:web-* except domain=web-9"));
    cr_expect(has_miss(explain_call(policy, "alice", {"DOMAIN_DESTROY", "domain=web-1"}, "tcp"), "listener",
                       "at the listener tls"));
    cr_expect(
        has_miss(explain_call(policy, "bob", {"DOMAIN_DESTROY", "domain=db-1"}), "time", "until 2001-01-01"));
    cr_expect(has_miss(explain_call(policy, "alice", {"NETWORK_DESTROY", "network=x"}), "role", "no role"));
    cr_expect(has_miss(explain_call(policy, "idle", {"DOMAIN_DESTROY", "domain=x"}), "role", "operator"));
    const Explanation hard = explain_call(policy, "alice", {"CONNECT_SET_IDENTITY"});
    cr_expect(!hard.allowed && hard.reason == "hard-deny" && hard.near_misses.empty());
}

// Whatever a near miss proposes has to be true: with the flags that it names the call is allowed.
Test(explanations, propose_only_what_works) {
    const Loaded policy = load_text(
        "version = 1\n[role.r]\nallow = ['proc:DOMAIN_MIGRATE_PERFORM3_PARAMS']\n"
        "require = ['flag:DOMAIN_MIGRATE_PERFORM3_PARAMS:VIR_MIGRATE_TLS']\n"
        "[identity.a]\nsasl = 'a'\n[[binding]]\nidentity = 'a'\nrole = 'r'\n"
        "objects = { domain = ['glob:*'], migrate_uri = ['glob:*'] }\n");
    const Explanation no =
        explain_call(policy, "a", {"DOMAIN_MIGRATE_PERFORM3_PARAMS", "domain=x", "migrate_uri=tcp://h"});
    cr_expect(!no.allowed && no.reason == "flag");
    cr_expect(has_miss(no, "flags", "with VIR_MIGRATE_TLS"));
    cr_expect_eq(no.bindings[0].needs.size(), 1u);
    cr_expect(explain_call(policy, "a",
                           {"DOMAIN_MIGRATE_PERFORM3_PARAMS", "domain=x", "migrate_uri=tcp://h",
                            "flags=VIR_MIGRATE_TLS"})
                  .allowed);
}

Test(explanations, of_a_listener_for_reading) {
    const Loaded policy = load_text(
        "version = 1\n[identity.a]\nunix = { uid = 0 }\n[[binding]]\nidentity = 'a'\nrole = 'admin'\n");
    cr_expect(explain_call(policy, "a", {"DOMAIN_DESTROY", "domain=x"}, "unix").allowed);
    const Explanation no = explain_call(policy, "a", {"DOMAIN_DESTROY", "domain=x"}, "unix-ro");
    cr_expect(!no.allowed && no.reason == "read-only" && has_miss(no, "listener", "unix"));
    cr_expect(explain_call(policy, "a", {"DOMAIN_GET_INFO", "domain=x"}, "unix-ro").allowed);
    cr_expect_not(
        explain_call(policy, "a", {"DOMAIN_GET_XML_DESC", "domain=x", "flags=SECURE"}, "unix-ro").allowed);
}

Test(explanations, say_on_what_else_it_depends) {
    const Loaded policy = load_text(
        "version = 1\n[global]\nmode = 'shadow'\n[role.r]\nallow = ['@define']\n"
        "xml = { forbid = ['hostdev'], paths = ['/srv/vm'] }\n[identity.a]\nunix = { uid = 0 }\n"
        "[[binding]]\nidentity = 'a'\nrole = 'r'\nobjects = { domain = ['glob:*'] }\n");
    const Explanation yes = explain_call(policy, "a", {"DOMAIN_DEFINE_XML_FLAGS"}, "unix");
    cr_expect(yes.allowed && yes.notes == std::vector<std::string>({"only with XML of no hostdev",
                                                                    "only with XML of paths below /srv/vm"}),
              "%s", to_text(yes).c_str());
    const Explanation no = explain_call(policy, "a", {"NETWORK_DESTROY", "network=x"}, "unix");
    cr_assert(!no.allowed && no.notes.size() == 1);
    cr_expect_neq(no.notes[0].find("10.toml:3:8"), std::string::npos, "%s", no.notes[0].c_str());
    cr_expect(explain_call(policy, "a", {"NETWORK_DESTROY", "network=x"}, "tls").notes.empty());
}

Test(explanations, survive_hostile_names) {
    const Loaded policy = load_text(k_policy);
    const Explanation no = explain_call(policy, "alice", {"DOMAIN_DESTROY", "domain=x\n\x1b[2J\"ALLOW\xff"});
    cr_expect_eq(to_text(no).find('\x1b'), std::string::npos);
    cr_expect_eq(to_text(no).find("\nALLOW"), std::string::npos);
    cr_expect_not(nlohmann::json::parse(
                      to_json(no).dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace))
                      .empty());
}

Test(identities, that_almost_match_are_named_with_what_is_missing) {
    const Loaded policy = load_text(k_policy);
    auto who = *make_who({.subject = "CN=alice,O=Acme", .source = "192.0.2.7"});
    cr_assert_not_null(policy.table.match(who).rule);
    cr_expect_eq(passed_tests(*policy.table.match(who).rule, who),
                 (std::vector<std::string>{"x509 CN", "x509 O", "source"}));
    who.source = "198.51.100.1";
    auto almost = almost_matches(policy.table, who);
    cr_assert_eq(almost.size(), 1u);
    cr_expect(almost[0].rule->name == "alice" && almost[0].test == "source");
    almost = almost_matches(policy.table, *make_who({.subject = "CN=mallory,O=Acme", .source = "192.0.2.7"}));
    cr_assert_eq(almost.size(), 1u);
    cr_expect_eq(almost[0].test, "x509 CN");
    almost = almost_matches(policy.table, *make_who({.sasl = "bob", .mechanism = "PLAIN"}));
    cr_assert_eq(almost.size(), 1u);
    cr_expect(almost[0].rule->name == "bob" && almost[0].test == "mechanism");
    // Who shares nothing with anybody is nearly nobody.
    cr_expect(almost_matches(policy.table, *make_who({.sasl = "mallory", .mechanism = "PLAIN"})).empty());
}

Test(effects, do_not_depend_on_words) {
    const Loaded words = load_text(
        "version = 1\n[role.r]\nallow = ['proc:DOMAIN_CREATE', 'proc:DOMAIN_DESTROY']\n[identity.a]\nsasl = "
        "'a'\n"
        "[[binding]]\nidentity = 'a'\nrole = 'r'\nobjects = { domain = ['x', 'y'] }\n");
    const Loaded others = load_text(
        "version = 1\n[identity.a]\nsasl = 'a'\n[[binding]]\nidentity = 'a'\nrole = 's'\nobjects = { domain "
        "= ['y', 'x'] }\n"
        "[group.g]\nprocedures = ['proc:remote.DOMAIN_CREATE']\n[role.t]\nallow = ['@g']\n"
        "[role.s]\ninclude = ['t']\nallow = ['proc:remote.DOMAIN_DESTROY']\n");
    cr_expect(compare(words.table, others.table).empty());
    const Loaded narrower = load_text(
        "version = 1\n[role.r]\nallow = ['proc:DOMAIN_CREATE', 'proc:DOMAIN_DESTROY']\n[identity.a]\nsasl = "
        "'a'\n"
        "[[binding]]\nidentity = 'a'\nrole = 'r'\nobjects = { domain = ['x'] }\nlimits = { connections = 1 "
        "}\n");
    const Difference difference = compare(words.table, narrower.table);
    cr_assert_eq(difference.gone.size(), 2u);
    cr_assert_eq(difference.fresh.size(), 3u);
    cr_expect_eq(difference.gone[0].to_text(), "a allow remote.DOMAIN_CREATE on domain=x domain=y");
    cr_expect_eq(difference.fresh[2].to_text(), "a limit connections = 1");
    cr_expect_eq(to_json(difference.fresh[0])["objects"].dump(), "[\"domain=x\"]");
}

// Lines are part of the compiled table, so it is what it comes to that has to be the same.
Test(effects, do_not_depend_on_the_order_of_tables) {
    std::vector<std::string> tables;
    std::string_view rest = k_policy.substr(k_policy.find('[') - 1);
    while (!rest.empty()) {
        const auto next = std::min(rest.find("\n[", 1), rest.size());
        tables.emplace_back(rest.substr(0, next));
        rest.remove_prefix(next);
    }
    cr_assert_eq(tables.size(), 10u);
    const Loaded first = load_text(k_policy);
    std::mt19937 random(7);
    for (int i = 0; i < 50; ++i) {
        std::shuffle(tables.begin(), tables.end(), random);
        std::string text = "version = 1";
        for (const std::string& table : tables) text += table;
        cr_assert(compare(first.table, load_text(text + "\n").table).empty(), "%s", text.c_str());
    }
}

Test(matrix, says_who_may_what) {
    const Loaded policy = load_text(k_policy);
    const auto groups = make_matrix(policy.table, "", "tls", {});
    cr_assert(groups.has_value() && groups->identities.size() == 3);
    const auto row = [&](std::string_view name) {
        return *std::find_if(groups->rows.begin(), groups->rows.end(),
                             [&](const Matrix::Row& each) { return each.name == name; });
    };
    const auto lifecycle = row("@lifecycle");
    cr_expect_eq(lifecycle.cells[0].objects, lifecycle.procedures);
    cr_expect(lifecycle.cells[2].objects == 0 && lifecycle.cells[2].always == 0);
    const auto calls =
        make_matrix(policy.table, "bob", "tls", {"domain_get_info", "DOMAIN_DESTROY*", "@console"});
    cr_assert(calls.has_value());
    cr_expect_eq(calls->rows.size(), 4u);
    cr_expect_eq(calls->rows[0].cells[0].always, 1u);
    cr_expect_not(make_matrix(policy.table, "", "tls", {"NO_SUCH_*"}).has_value());
    cr_expect_not(make_matrix(policy.table, "", "tls", {"@no-such"}).has_value());
    cr_expect_not(make_matrix(policy.table, "", "tls", {"NO_SUCH"}).has_value());
}
