// SPDX-License-Identifier: LGPL-2.1-or-later
// ctl_policy_history - what records say about a policy: refusals at a time, roles that are learned, grants
// unused.
#include <criterion/criterion.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ctl/audit/moment.h"
#include "ctl/files.h"
#include "ctl/policy/history.h"
#include "ctl/policy/learned.h"
#include "ctl/policy/question.h"
#include "ctl/policy/usage.h"
#include "tests/unit/ctl_policy_rig.h"

using namespace virtgate;
using namespace virtgate::ctl;
using namespace virtgate::ctl::policy;

namespace {

constexpr std::string_view k_policy = R"(version = 1
[role.all]
allow = ["@lifecycle", "@read-domain"]
audit = "all"
[role.writes]
allow = ["@lifecycle", "@read-domain"]
audit = "writes"
[role.silent]
allow = ["@lifecycle"]
[identity.alice]
sasl = "alice"
[identity.bob]
sasl = "bob"
[[binding]]
identity = "alice"
role = "all"
objects = { domain = ["glob:*"] }
[[binding]]
identity = "bob"
role = ["writes", "silent"]
objects = { domain = ["glob:*"] }
)";

audit::Moment moment(std::string_view text) { return *audit::parse_rfc3339(text); }

audit::Entry call(std::string_view verdict, const char* procedure, std::vector<audit::Object> objects = {},
                  std::string_view time = "2026-11-20T10:00:00Z") {
    audit::Entry entry;
    entry.time = moment(time);
    entry.record = "call";
    entry.verdict = verdict;
    entry.identity = "alice";
    entry.listener = "tls";
    entry.program = "remote";
    entry.procedure = procedure;
    entry.objects = std::move(objects);
    if (verdict == "refused") entry.reason = "object";
    return entry;
}

audit::Object domain(std::string name, bool known = true, std::string uuid = {}) {
    return {.kind = "domain", .name = std::move(name), .uuid = std::move(uuid), .known = known};
}

const ProposalFrame k_frame{.identity = "alice",
                            .role = "learned-alice",
                            .since = moment("2026-11-13T10:00:00Z"),
                            .until = moment("2026-11-20T10:00:00Z")};

// The proposal as the second file of a policy that has the identity; it must compile.
Loaded accept(const std::string& toml) {
    Loaded loaded;
    virtgate::policy::parse_file("version = 1\n[identity.alice]\nsasl = 'alice'\n", "10.toml", loaded.source,
                                 loaded.complaints);
    virtgate::policy::parse_file(toml, "60.toml", loaded.source, loaded.complaints);
    loaded.table = virtgate::policy::Table(virtgate::policy::resolve(loaded.source, loaded.complaints));
    std::string said;
    for (const auto& line : loaded.complaints.lines()) said += line.text + "\n";
    cr_assert_eq(loaded.complaints.errors(), 0u, "%s\n%s", said.c_str(), toml.c_str());
    return loaded;
}

bool allows(const Loaded& policy, const std::vector<std::string>& words) {
    return judge(rights_of(*policy.table.find("alice"), "tls"), *parse_request(words)).allowed;
}

std::string write_log(const std::string& lines) {
    const std::string path = fmt::format("/tmp/virtgate-test-history-{}.jsonl", getpid());
    unlink(path.c_str());
    cr_assert(write_new_file(path, lines, 0600).has_value());
    return path;
}

std::string record(std::string_view time, std::string_view rest) {
    return fmt::format("{{\"time\":\"{}\",\"record\":\"call\",{}}}\n", time, rest);
}

}  // namespace

Test(history, finds_the_refusals_of_the_minute_the_nearest_first) {
    const std::string refused = "\"verdict\":\"refused\",\"identity\":\"alice\",\"procedure\":\"P\"";
    const std::string path =
        write_log(record("2026-11-20T13:00:00Z", refused) + record("2026-11-20T14:01:30Z", refused) +
                  "no record\n" + record("2026-11-20T14:02:10Z", refused) +
                  record("2026-11-20T14:02:01Z", "\"verdict\":\"allowed\",\"identity\":\"alice\"") +
                  record("2026-11-20T14:02:02Z", "\"verdict\":\"refused\",\"identity\":\"bob\""));
    const audit::Moment at = moment("2026-11-20T14:02:00Z");
    auto found = find_refusals(path, {.identity = "alice"}, at, 5);
    cr_assert(found.has_value() && found->size() == 2);
    cr_expect(found->front().entry.time == moment("2026-11-20T14:02:10Z"));
    cr_expect_eq(find_refusals(path, {}, at, 5)->size(), 3u);
    cr_expect_eq(find_refusals(path, {}, at, 1)->front().entry.identity.value_or(""), "bob");
    // Far away is better than nothing.
    found = find_refusals(path, {.identity = "alice"}, moment("2026-11-21T00:00:00Z"), 5);
    cr_assert(found.has_value() && found->size() == 1);
    cr_expect(found->front().entry.time == moment("2026-11-20T14:02:10Z"));
    cr_expect(find_refusals(path, {.identity = "carol"}, at, 5)->empty());
    unlink(path.c_str());
    cr_expect_not(find_refusals(path, {}, at, 5).has_value());
}

Test(history, makes_a_request_of_a_record) {
    auto entry =
        call("refused", "DOMAIN_DESTROY", {domain("web-1", true, "7a0bb41b-68b2-4683-84e5-9502892bea09")});
    entry.flags = 4;
    const auto request = request_of(entry);
    cr_assert(request.has_value() && request->flags == 4);
    cr_expect(request->objects()[0].name == "web-1" && request->objects()[0].uuid.has_value());
    entry.procedure = "NO_SUCH";
    cr_expect_not(request_of(entry).has_value());
    entry.procedure.reset();
    cr_expect_not(request_of(entry).has_value());
    entry = call("refused", "DOMAIN_DESTROY", {{.kind = "planet"}});
    cr_expect_not(request_of(entry).has_value());
}

Test(history, shows_no_bytes_of_clients_as_they_are) {
    auto entry = call("refused", "DOMAIN_DESTROY", {domain("a\n\x1b[2J", false)});
    entry.login = "x\ny";
    entry.subject = "CN=\x07";
    const std::string text = describe(entry, entry.time);
    cr_expect_eq(text.find('\x1b'), std::string::npos);
    cr_expect_eq(text.find('\x07'), std::string::npos);
    cr_expect_eq(text.find("\ny"), std::string::npos);
    cr_expect_neq(text.find("(as the client calls it)"), std::string::npos);
}

Test(lessons, allow_what_was_done_and_nothing_else) {
    Lesson lesson(false);
    lesson.add(call("allowed", "CONNECT_LIST_ALL_DOMAINS"));
    lesson.add(call("allowed", "DOMAIN_GET_INFO", {domain("web-1")}));
    lesson.add(call("allowed", "DOMAIN_GET_INFO", {domain("web-2")}));
    lesson.add(call("allowed", "DOMAIN_DESTROY", {domain("web-1")}));
    lesson.add(call("shadowed", "DOMAIN_CREATE", {domain("web-1")}));
    lesson.add(call("refused", "DOMAIN_SUSPEND", {domain("web-1")}));
    const Loaded policy = accept(to_toml(lesson, k_frame));
    cr_expect(allows(policy, {"CONNECT_OPEN"}) && allows(policy, {"CONNECT_LIST_ALL_DOMAINS"}));
    cr_expect(allows(policy, {"DOMAIN_GET_INFO", "domain=web-2"}) &&
              allows(policy, {"DOMAIN_DESTROY", "domain=web-1"}));
    cr_expect(allows(policy, {"DOMAIN_CREATE", "domain=web-1"}));
    cr_expect_not(allows(policy, {"DOMAIN_DESTROY", "domain=web-2"}), "never used there");
    cr_expect_not(allows(policy, {"DOMAIN_GET_INFO", "domain=web-3"}));
    cr_expect_not(allows(policy, {"DOMAIN_SUSPEND", "domain=web-1"}), "refused");
    cr_expect_eq(lesson.leftovers().size(), 1u);
    cr_expect_eq(lesson.calls(), 6u);

    Lesson generous(true);
    generous.add(call("refused", "DOMAIN_SUSPEND", {domain("web-1")}));
    cr_expect(allows(accept(to_toml(generous, k_frame)), {"DOMAIN_SUSPEND", "domain=web-1"}));
}

Test(lessons, cannot_be_forged_by_names) {
    Lesson lesson(true);
    const std::vector<std::string> names{
        "glob:*",    "uuid:7a0bb41b-68b2-4683-84e5-9502892bea09",
        "*",         "a\"] }\n[[binding]]\nidentity = \"alice\"\nrole = \"admin\"",
        "a\\",       "\"",
        "a\xff",     "",
        "# comment", std::string(2000, 'a')};
    for (const std::string& name : names) lesson.add(call("allowed", "DOMAIN_DESTROY", {domain(name)}));
    lesson.add(
        call("allowed", "DOMAIN_CREATE", {domain("glob:*", true, "7a0bb41b-68b2-4683-84e5-9502892bea09")}));
    lesson.add(call("refused", "DOMAIN_SUSPEND", {domain("claimed", false)}));
    auto forged = call("refused", "DOMAIN_REBOOT\n[role.x]", {});
    forged.reason = "x\n[role.x]";
    lesson.add(forged);
    const Loaded policy = accept(to_toml(lesson, k_frame));
    cr_expect_not(allows(policy, {"DOMAIN_DESTROY", "domain=other"}), "a name has become a pattern");
    cr_expect_not(allows(policy, {"NETWORK_DESTROY", "network=x"}), "a name has become a binding");
    cr_expect(allows(policy, {"DOMAIN_DESTROY", "domain=\""}) &&
              allows(policy, {"DOMAIN_DESTROY", "domain=a\\"}));
    cr_expect(allows(policy, {"DOMAIN_CREATE", "domain=x,uuid:7a0bb41b-68b2-4683-84e5-9502892bea09"}));
    cr_expect_not(allows(policy, {"DOMAIN_SUSPEND", "domain=claimed"}), "a client's word");
}

Test(lessons, leave_out_what_nobody_can_be_allowed) {
    Lesson lesson(true);
    lesson.add(call("refused", "CONNECT_SET_IDENTITY"));
    auto monitor = call("allowed", "DOMAIN_MONITOR_COMMAND", {domain("a")});
    monitor.program = "qemu";
    lesson.add(monitor);
    auto limited = call("refused", "DOMAIN_DESTROY", {domain("a")});
    limited.reason = "limit";
    lesson.add(limited);
    auto session = call("refused", "DOMAIN_DESTROY");
    session.record = "session";
    lesson.add(session);
    cr_expect_eq(lesson.calls(), 3u);
    cr_expect_eq(lesson.leftovers().size(), 3u);
    const auto json = to_json(lesson, k_frame);
    cr_expect(json["roles"].size() == 1 && json["not_proposed"].size() == 3);
    static_cast<void>(accept(to_toml(lesson, k_frame)));
}

Test(lessons, name_places_and_paths_as_a_policy_does) {
    Lesson lesson(false);
    lesson.add(call(
        "allowed", "DOMAIN_MIGRATE_PERFORM3_PARAMS",
        {domain("a"), {.kind = "migrate_uri", .name = "tcp://root@10.0.0.7:49152/x?y", .known = false}}));
    lesson.add(call("allowed", "DOMAIN_SAVE",
                    {domain("a"), {.kind = "path", .name = "/srv/save/a", .known = false}}));
    lesson.add(call("allowed", "DOMAIN_SAVE",
                    {domain("a"), {.kind = "path", .name = "/srv/../etc", .known = false}}));
    const std::string toml = to_toml(lesson, k_frame);
    cr_expect_neq(toml.find("\"tcp://10.0.0.7:49152\""), std::string::npos, "%s", toml.c_str());
    const Loaded policy = accept(toml);
    cr_expect(allows(policy, {"DOMAIN_SAVE", "domain=a", "path=/srv/save/a"}));
    cr_expect_not(allows(policy, {"DOMAIN_SAVE", "domain=a", "path=/etc/passwd"}));
}

Test(usage, counts_for_the_binding_that_the_record_names_or_that_would_allow) {
    const Loaded policy = load_text(k_policy);
    Usage usage(policy, "alice");
    const audit::Moment since = moment("2026-11-01T00:00:00Z");
    auto named = call("allowed", "DOMAIN_DESTROY", {domain("x")});
    named.role = "all";
    named.rule = "/etc/virtgate/policy.d/10.toml:14";
    usage.add(named, since);
    auto moved = call("allowed", "DOMAIN_CREATE", {domain("x")});
    moved.role = "all";
    moved.rule = "/etc/virtgate/policy.d/10.toml:99";
    usage.add(moved, since);
    usage.add(call("refused", "DOMAIN_SUSPEND", {domain("x")}), since);
    usage.add(call("allowed", "DOMAIN_REBOOT", {domain("x")}, "2026-10-01T00:00:00Z"), since);
    const UsageReport report = usage.report(since, moment("2026-11-21T00:00:00Z"));
    cr_assert_eq(report.grants.size(), 1u);
    const GrantUsage& grant = report.grants[0];
    cr_expect_eq(grant.used, 2u);
    cr_expect_eq(grant.unrecorded, 0u);
    cr_expect(report.warnings.empty(), "%s", report.warnings.empty() ? "" : report.warnings[0].c_str());
    cr_assert_eq(grant.words.size(), 2u);
    const UnusedWord& word =
        *std::find_if(grant.words.begin(), grant.words.end(),
                      [](const UnusedWord& each) { return each.word.text == "@lifecycle"; });
    cr_expect_eq(word.word.at.line, 3u);
    cr_expect_eq(word.unused.size() + 2, word.procedures);
    const auto is_unused = [&](std::string_view name) {
        return std::find(word.unused.begin(), word.unused.end(), name) != word.unused.end();
    };
    cr_expect(is_unused("remote.DOMAIN_SUSPEND") && is_unused("remote.DOMAIN_REBOOT"));
    cr_expect_not(is_unused("remote.DOMAIN_DESTROY"));
}

Test(usage, says_what_it_cannot_know) {
    const Loaded policy = load_text(k_policy);
    Usage usage(policy, "bob");
    const audit::Moment since = moment("2026-11-01T00:00:00Z"), now = moment("2026-11-21T00:00:00Z");
    const UsageReport nothing = usage.report(since, now);
    cr_expect(!nothing.first && !nothing.warnings.empty());
    usage.add(call("allowed", "DOMAIN_DESTROY", {domain("x")}), since);
    const UsageReport report = usage.report(since, now);
    const auto warns = [&](std::string_view part) {
        return std::any_of(report.warnings.begin(), report.warnings.end(),
                           [&](const std::string& each) { return each.find(part) != each.npos; });
    };
    cr_expect(warns("begin 2026-11-20T10:00:00Z"));
    cr_expect(warns("role silent has audit = \"denied\"") && warns("role writes has audit = \"writes\""));
    cr_assert_eq(report.grants.size(), 2u);
    for (const GrantUsage& grant : report.grants) {
        if (grant.role == "silent") cr_expect(grant.words.empty() && grant.unrecorded == grant.procedures);
        // What could change something is recorded; what only reads is not.
        for (const UnusedWord& word : grant.words)
            for (const std::string& name : word.unused) cr_expect_neq(name, "remote.DOMAIN_GET_INFO");
    }
}
