// SPDX-License-Identifier: LGPL-2.1-or-later
// auditor_reading - records read back: by program, by filter, and by people.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <fstream>

#include "ctl/audit/follow.h"
#include "ctl/audit/listing.h"
#include "ctl/audit/moment.h"
#include "ctl/audit/reader.h"
#include "libshared/base/bytes.h"
#include "tests/unit/auditor_support.h"
#include "workerd/auditor/record_file.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::ctl::audit;
namespace auditor = virtgate::workerd::auditor;

namespace {

using Words = std::vector<std::string>;
using std::chrono::seconds;

// All tests are in this zone, an hour east, without summer time.
void set_zone() {
    setenv("TZ", "XST-1", 1);
    tzset();
}

Record call_record(const proto::audit::DecisionArgs& decision, const auditor::Ending& ending) {
    return auditor::make_call(test_time(), auditor::make_client(arrival(12, 3)), decision, ending);
}

Entry read_back(const Record& record) {
    std::string line = auditor::to_line(record);
    line.pop_back();
    const auto entry = parse_entry(line);
    cr_assert(entry, "%s", line.c_str());
    return *entry;
}

// Records of five calls, a minute apart: alice's on db-1 allowed, refused, shadowed; bob's on web-1, refused; and a
// session.
std::string write_file(const Scratch& scratch) {
    const std::string path = scratch.path("audit.jsonl");
    auditor::RecordFile file(path);
    const Moment start = test_time();
    const auto put = [&](const Record& record) {
        cr_assert(file.put(record));
        set_time(test_time() + seconds{60});
    };
    put(call_record(allowed(12, 1), {.fate = auditor::Fate::done, .duration = 1'234}));
    put(call_record(refused(12, 2), {}));
    auto trial = allowed(12, 3);
    trial.verdict = proto::audit::AuditVerdict::verdict_shadowed;
    trial.reason = proto::audit::AuditReason::reason_no_binding;
    put(call_record(trial, {.fate = auditor::Fate::done}));
    auto bob = arrival(13, 4);
    bob.identity = "bob";
    auto web = refused(13, 1);
    web.procedure = static_cast<std::uint32_t>(1);
    web.objects[0].name = "web-1";
    put(auditor::make_call(test_time(), auditor::make_client(bob), web, {}));
    put(auditor::make_session(test_time(), auditor::make_client(bob), bob));
    set_time(start);
    return path;
}

// What the filter lets through, as positions in write_file().
std::vector<int> matching(const Filter& filter) {
    const Scratch scratch;
    const Moment start = test_time();
    std::vector<int> found;
    const auto summary = read_entries(write_file(scratch), filter, [&](const Entry& entry) {
        found.push_back(static_cast<int>((entry.time - start) / std::chrono::minutes{1}));
        return true;
    });
    cr_assert(summary);
    cr_assert_eq(summary->records, 5);
    cr_assert_eq(summary->matched, found.size());
    cr_assert_eq(summary->broken, 0);
    return found;
}

using Which = std::vector<int>;

Moment moment(std::string_view text) {
    const auto parsed = parse_rfc3339(text);
    cr_assert(parsed, "%s", std::string{text}.c_str());
    return *parsed;
}

Words collect(Follower& follower) {
    Words lines;
    const auto done = follower.poll([&](std::string_view line) {
        lines.emplace_back(line);
        return true;
    });
    cr_assert(done);
    return lines;
}

void append(const std::string& path, std::string_view text) {
    std::ofstream(path, std::ios::app | std::ios::binary) << text;
}

}  // namespace

Test(auditor_reading, a_call_comes_back_as_it_was) {
    auto decision = refused(12, 1);
    decision.flags = ~0ULL;
    decision.more_objects = 2;
    decision.detail = "because";
    decision.shadow = proto::audit::RulePlace{.role = "trial", .file = "30-new.toml", .line = 7};
    const Entry entry = read_back(call_record(decision, {}));
    cr_assert(entry.time == test_time());
    cr_assert_eq(entry.record, "call");
    cr_assert(entry.verdict == "refused");
    cr_assert(entry.reason == "object");
    cr_assert(entry.identity == "alice");
    cr_assert(entry.session == 12);
    cr_assert(entry.subject == "CN=alice,O=Acme");
    cr_assert_eq(entry.fingerprint->size(), 64);
    cr_assert(!entry.login && !entry.mechanism && !entry.uid && !entry.gid && !entry.pid);
    cr_assert(entry.source == "192.0.2.7");
    cr_assert(entry.port == 40'123);
    cr_assert(entry.listener == "tls");
    cr_assert(entry.program == "remote");
    cr_assert(entry.procedure == "DOMAIN_DESTROY");
    cr_assert_eq(entry.flags, ~0ULL);
    cr_assert_eq(entry.objects.size(), 1);
    cr_assert((entry.objects[0] == Object{.kind = "domain",
                                          .name = "db-1",
                                          .uuid = "5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a",
                                          .known = true}));
    cr_assert_eq(entry.more_objects, 2);
    cr_assert(entry.role == "operator");
    cr_assert(entry.rule == "20-bindings.toml:12");
    cr_assert(entry.detail == "because");
    cr_assert(entry.shadow_role == "trial");
    cr_assert(entry.shadow_rule == "30-new.toml:7");
    cr_assert(entry.generation == 4);
    cr_assert(entry.serial == 9);
    cr_assert(entry.decision_us == 17);
    cr_assert(!entry.duration_us && !entry.result && !entry.error && !entry.dropped);
}

Test(auditor_reading, an_end_and_a_gap_come_back_as_they_were) {
    const Entry call =
        read_back(call_record(allowed(12, 1), {.fate = auditor::Fate::error, .error = -3, .duration = 5}));
    cr_assert(call.result == "error");
    cr_assert(call.error == -3);
    cr_assert(call.duration_us == 5);
    const Entry gap = read_back(auditor::make_dropped(test_time(), "bob", 7, "because"));
    cr_assert_eq(gap.record, "dropped");
    cr_assert(gap.dropped == 7);
    auto local = arrival(12, 3);
    local.client.local.emplace();
    local.client.login = proto::who::SaslFacts{.mechanism = "PLAIN", .name = "al"};
    const Entry session = read_back(auditor::make_session(test_time(), auditor::make_client(local), local));
    cr_assert(session.uid == 0 && session.gid == 0 && session.pid == 0);
    cr_assert(session.login == "al" && session.mechanism == "PLAIN");
}

Test(auditor_reading, attacks_come_back_as_they_were) {
    for (const std::string& attack : attacks()) {
        auto decision = refused(12, 1);
        decision.objects[0].name = attack;
        const Entry entry = read_back(call_record(decision, {}));
        const std::string whole = Json(attack).dump(-1, ' ', true, Json::error_handler_t::replace);
        cr_assert_eq(entry.objects[0].name, Json::parse(whole).get<std::string>());
    }
}

Test(auditor_reading, what_is_no_record_is_none) {
    for (const char* line :
         {"", "x", "{", "[]", "null", "{}", "\"time\"", R"({"time":"2024-11-21T14:02:11Z"})",
          R"({"record":"call"})", R"({"time":5,"record":"call"})", R"({"time":"yesterday","record":"call"})",
          R"({"time":"2024-11-21T14:02:11Z","record":""})",
          R"({"time":"2024-11-21T14:02:11Z","record":"call"} x)"})
        cr_assert(!parse_entry(line), "%s", line);
    const std::string deep(100'000, '[');
    cr_assert(!parse_entry(deep));
}

Test(auditor_reading, a_key_of_a_wrong_type_is_absent) {
    const auto entry = parse_entry(
        R"({"time":"2024-11-21T14:02:11Z","record":"call","identity":5,"session":-1,"uid":1.5,"objects":[1,{"kind":2,)"
        R"("known":"yes"}],"error":"x","flags":"y","new key":{}})");
    cr_assert(entry);
    cr_assert(!entry->identity && !entry->session && !entry->uid && !entry->error);
    cr_assert_eq(entry->flags, 0);
    cr_assert_eq(entry->objects.size(), 1);
    cr_assert(entry->objects[0] == Object{});
}

Test(auditor_reading, filters_let_through_what_they_say) {
    const Moment start = test_time();
    cr_assert(matching({}) == (Which{0, 1, 2, 3, 4}));
    cr_assert(matching({.identity = "alice"}) == (Which{0, 1, 2}));
    cr_assert(matching({.identity = "ali"}).empty());
    cr_assert(matching({.refused = true}) == (Which{1, 2, 3}));
    cr_assert(matching({.session = 13}) == (Which{3, 4}));
    cr_assert(matching({.since = start + seconds{60}}) == (Which{1, 2, 3, 4}));
    cr_assert(matching({.until = start + seconds{60}}) == Which{0});
    cr_assert(matching({.procedure = "DOMAIN_DESTROY"}) == (Which{0, 1, 2}));
    cr_assert(matching({.procedure = "domain_d*"}) == (Which{0, 1, 2}));
    cr_assert(matching({.procedure = "CONNECT_*"}) == Which{3});
    cr_assert(matching({.object = "web-*"}) == Which{3});
    cr_assert(matching({.object = "domain=*"}) == (Which{0, 1, 2, 3}));
    cr_assert(matching({.object = "network=*"}).empty());
    cr_assert(matching({.object = "5a5a5a5a-*"}) == (Which{0, 1, 2, 3}));
    cr_assert(matching({.identity = "alice", .refused = true, .object = "db-1"}) == (Which{1, 2}));
}

Test(auditor_reading, an_object_with_an_equals_sign_can_be_asked_for) {
    Entry entry;
    entry.objects.push_back({.kind = "domain", .name = "a=b"});
    cr_assert(Filter{.object = "domain=a=b"}.matches(entry));
    cr_assert(Filter{.object = "*=b"}.matches(entry));
    cr_assert(!Filter{.object = "a=b"}.matches(entry));
}

Test(auditor_reading, a_reader_may_stop) {
    const Scratch scratch;
    int seen = 0;
    const auto summary = read_entries(write_file(scratch), {}, [&](const Entry&) { return ++seen < 2; });
    cr_assert(summary);
    cr_assert_eq(seen, 2);
    cr_assert_eq(summary->matched, 2);
}

Test(auditor_reading, broken_lines_are_counted_and_passed_over) {
    const Scratch scratch;
    const std::string path = write_file(scratch), whole = read_text(path);
    std::ofstream(path, std::ios::binary) << "{\"time\":\"20\n"
                                          << whole << "\n"
                                          << std::string(k_line_max + 1, 'x') << "\n"
                                          << whole << std::string("\0\xff\n", 3) << "{\"torn\":";
    const auto summary = read_entries(path, {}, [](const Entry&) { return true; });
    cr_assert(summary);
    cr_assert_eq(summary->records, 10);
    cr_assert_eq(summary->broken, 4);
}

Test(auditor_reading, a_last_line_without_an_end_counts) {
    const Scratch scratch;
    const std::string path = write_file(scratch), whole = read_text(path);
    std::ofstream(path, std::ios::binary) << whole.substr(0, whole.size() - 1);
    const auto summary = read_entries(path, {}, [](const Entry&) { return true; });
    cr_assert(summary && summary->records == 5 && summary->broken == 0);
}

Test(auditor_reading, a_file_that_is_not_there_is_an_error) {
    const auto summary = read_entries("/nonexistent/audit.jsonl", {}, [](const Entry&) { return true; });
    cr_assert(!summary);
    cr_assert_eq(summary.error().number, ENOENT);
    cr_assert(!read_entries("/tmp", {}, [](const Entry&) { return true; }), "a directory");
}

Test(auditor_reading, lines_are_cut_wherever_pieces_end) {
    const std::string text = "one\n\nthree\nfour";
    for (std::size_t size = 1; size <= text.size(); ++size) {
        Lines lines;
        Words found;
        for (std::size_t at = 0; at < text.size(); at += size)
            cr_assert(lines.feed(std::string_view(text).substr(at, size), [&](std::string_view line) {
                found.emplace_back(line);
                return true;
            }));
        cr_assert(found == (Words{"one", "", "three"}));
        cr_assert_eq(lines.take_rest(), "four");
        cr_assert(lines.take_rest().empty());
    }
}

Test(auditor_reading, a_line_that_is_too_long_takes_no_memory) {
    Lines lines;
    Words found;
    const auto take = [&](std::string_view line) {
        found.emplace_back(line);
        return true;
    };
    const std::string piece(k_line_max / 4, 'x');
    for (int i = 0; i < 10; ++i) lines.feed(piece, take);
    lines.feed("\nnext\n", take);
    cr_assert(found == Words{"next"});
    cr_assert_eq(lines.too_long(), 1);
    // One that is just not too long, in two pieces and in one.
    lines.feed(std::string(k_line_max - 1, 'y'), take);
    lines.feed("z\n", take);
    lines.feed(std::string(k_line_max, 'y') + "\n", take);
    lines.feed(std::string(k_line_max + 1, 'y') + "\n", take);
    cr_assert_eq(found.size(), 3);
    cr_assert_eq(lines.too_long(), 2);
}

Test(auditor_reading, moments_of_rfc_3339) {
    cr_assert(moment("1970-01-01T00:00:00Z") == Moment{});
    cr_assert(moment("2024-11-21T14:02:11.031337Z") == test_time());
    cr_assert(moment("2024-11-21T15:02:11.031337+01:00") == test_time());
    cr_assert(moment("2024-11-21T08:32:11.031337999-05:30") == test_time());
    cr_assert(moment("2024-11-21t14:02:11.031337z") == test_time());
    cr_assert(moment("2024-02-29T23:59:60Z") == moment("2024-03-01T00:00:00Z"));
    cr_assert(moment("1970-01-01T00:00:00.5Z") == Moment{std::chrono::microseconds{500'000}});
    for (const char* text :
         {"", "2024-11-21", "2024-11-21T14:02:11", "2024-11-21T14:02Z", "2023-02-29T00:00:00Z",
          "2024-13-01T00:00:00Z", "2024-00-01T00:00:00Z", "2024-11-31T00:00:00Z", "2024-11-21T24:00:00Z",
          "2024-11-21T14:60:00Z", "2024-11-21T14:02:61Z", "2024-11-21T14:02:11.Z", "2024-11-21T14:02:11ZZ",
          "2024-11-21T14:02:11+1:00", "2024-11-21T14:02:11+24:00", " 2024-11-21T14:02:11Z",
          "-024-11-21T14:02:11Z", "2024-11-21T14:02:1Z"})
        cr_assert(!parse_rfc3339(text), "%s", text);
}

Test(auditor_reading, moments_as_people_write_them) {
    set_zone();
    const Moment now = moment("2024-11-21T14:02:11Z");  // 15:02:11 here
    const auto parse = [&](std::string_view text) {
        const auto parsed = parse_moment(text, now);
        cr_assert(parsed, "%s", std::string{text}.c_str());
        return *parsed;
    };
    cr_assert(parse("14:02") == moment("2024-11-21T13:02:00Z"));
    cr_assert(parse("14:02:30") == moment("2024-11-21T13:02:30Z"));
    cr_assert(parse("2024-11-20") == moment("2024-11-19T23:00:00Z"));
    cr_assert(parse("2024-11-20 14:02") == moment("2024-11-20T13:02:00Z"));
    cr_assert(parse("2024-11-20T14:02:03") == moment("2024-11-20T13:02:03Z"));
    cr_assert(parse("2024-11-20T14:02:03Z") == moment("2024-11-20T14:02:03Z"));
    cr_assert(parse("90s") == now - seconds{90});
    cr_assert(parse("15m") == now - seconds{900});
    cr_assert(parse("2h") == now - seconds{7'200});
    cr_assert(parse("7d") == now - seconds{604'800});
    cr_assert(parse("4w") == now - seconds{4 * 604'800});
    cr_assert(parse("0s") == now);
    for (const char* text :
         {"", "h", "2", "2x", "-2h", "2 h", "2hh", "1.5h", "99999999999d", "5000w5", "today", "24:00",
          "14:60", "14:", "2024-11-31", "2024-11-20 ", "2024-11-20 14", "9223372036854775807w"})
        cr_assert(!parse_moment(text, now), "%s", text);
}

Test(auditor_reading, moments_are_shown_with_their_day_unless_it_is_today) {
    set_zone();
    const Moment now = moment("2024-11-21T14:02:11Z");
    cr_assert_eq(format_moment(now, now), "15:02:11");
    cr_assert_eq(format_moment(moment("2024-11-20T23:00:00Z"), now), "00:00:00");
    cr_assert_eq(format_moment(moment("2024-11-20T22:59:59Z"), now), "2024-11-20 23:59:59");
    cr_assert_eq(format_moment(moment("2023-11-21T14:02:11Z"), now), "2023-11-21 15:02:11");
}

Test(auditor_reading, a_line_for_people) {
    set_zone();
    const auto line = [](const Record& record) { return describe(read_back(record), test_time()); };
    const auto expect = [&](const Record& record, const std::string& expected) {
        cr_assert_eq(line(record), expected, "%s", line(record).c_str());
    };
    expect(call_record(refused(12, 1), {}),
           "15:02:11 alice refused DOMAIN_DESTROY domain=db-1: object, role operator at 20-bindings.toml:12");
    expect(call_record(allowed(12, 1), {.fate = auditor::Fate::done, .duration = 1'234}),
           "15:02:11 alice allowed DOMAIN_DESTROY domain=db-1: done in 1.2 ms, role operator at "
           "20-bindings.toml:12");
    expect(call_record(allowed(12, 1), {.fate = auditor::Fate::lost}),
           "15:02:11 alice allowed DOMAIN_DESTROY domain=db-1: lost, role operator at 20-bindings.toml:12");
    auto decision = refused(12, 1);
    decision.place.reset();
    decision.detail = "4 calls at a time";
    decision.reason = proto::audit::AuditReason::reason_limit;
    decision.objects[0].known = false;
    decision.more_objects = 1;
    decision.shadow = proto::audit::RulePlace{.role = "trial", .file = "30.toml", .line = 7};
    expect(call_record(decision, {}),
           "15:02:11 alice refused DOMAIN_DESTROY domain=db-1? and 1 more: limit (\"4 calls at a time\"), on "
           "probation "
           "trial at 30.toml:7");
    auto args = arrival(12, 3);
    expect(auditor::make_session(test_time(), auditor::make_client(args), args),
           "15:02:11 alice allowed session 12 from 192.0.2.7 (tls): certificate \"CN=alice,O=Acme\", role "
           "operator at "
           "20-bindings.toml:3");
    args.session = 0;
    args.identity.clear();
    args.place = {};
    args.reason = "no-identity";
    expect(auditor::make_session(test_time(), auditor::make_client(args), args),
           "15:02:11 \"CN=alice,O=Acme\" refused from 192.0.2.7 (tls): no-identity, certificate "
           "\"CN=alice,O=Acme\"");
    expect(auditor::make_session_end(test_time(), {.identity = "alice"}, 12, seconds{300}),
           "15:02:11 alice session 12 ended after 5 min");
    expect(auditor::make_policy(test_time(), {.generation = 5, .identities = 2, .accepted = true}),
           "15:02:11 policy 5 is in force: (\"2 identities\")");
    expect(auditor::make_policy(test_time(), {.generation = 5, .identities = 2, .accepted = false}),
           "15:02:11 a policy has errors, 5 stays: (\"2 identities\")");
    expect(auditor::make_dropped(test_time(), "bob", 7, "full"),
           "15:02:11 7 records of bob are missing: (full)");
    cr_assert_eq(describe(Entry{.time = test_time(), .record = "some new kind"}, test_time()),
                 "15:02:11 \"some new kind\"");
}

Test(auditor_reading, no_name_leaves_its_word_of_the_line) {
    const auto check = [](const Record& record) {
        const std::string line = describe(read_back(record), test_time());
        cr_assert(is_plain_text(line), "%s", line.c_str());
        for (const char* hidden : {"\xe2\x80\xa8", "\xe2\x80\xae", "\xe2\x81\xa6"})
            cr_assert_eq(line.find(hidden), std::string::npos, "%s", line.c_str());
        cr_assert_eq(std::count(line.begin(), line.end(), '"') % 2, 0, "%s", line.c_str());
    };
    for (const std::string& attack : attacks()) {
        auto decision = refused(12, 1);
        decision.objects[0].name = decision.detail = decision.place->role = decision.place->file = attack;
        check(call_record(decision, {}));
        auto args = arrival(12, 3);
        args.identity = args.client.source = args.client.listener = args.reason = attack;
        args.client.certificate->subject_text = attack;
        check(auditor::make_session(test_time(), auditor::make_client(args), args));
        check(auditor::make_dropped(test_time(), attack, 1, attack));
    }
}

Test(auditor_reading, a_line_for_programs_is_ascii) {
    const std::string plain = R"({"time":"2024-11-21T14:02:11Z","record":"call"})";
    cr_assert_eq(to_json(plain), plain);
    const std::string odd =
        "{\"time\":\"2024-11-21T14:02:11Z\",\"record\":\"call\",\"x\":\"\xe2\x80\xae\x7f\"}";
    const std::string shown = to_json(odd);
    cr_assert(std::all_of(shown.begin(), shown.end(), [](char c) { return c >= 0x20 && c < 0x7f; }), "%s",
              shown.c_str());
    cr_assert(Json::parse(shown) == Json::parse(odd));
}

Test(auditor_reading, a_file_that_grows_is_followed) {
    const Scratch scratch;
    const std::string path = scratch.path("audit.jsonl");
    append(path, "one\ntw");
    auto follower = Follower::open(path);
    cr_assert(follower);
    cr_assert(collect(*follower) == Words{"one"});
    cr_assert(collect(*follower).empty());
    append(path, "o\nthree\n");
    cr_assert(collect(*follower) == (Words{"two", "three"}));
}

Test(auditor_reading, a_file_that_is_rotated_is_followed) {
    const Scratch scratch;
    const std::string path = scratch.path("audit.jsonl");
    append(path, "one\n");
    auto follower = Follower::open(path);
    cr_assert(follower);
    cr_assert(collect(*follower) == Words{"one"});
    cr_assert_eq(rename(path.c_str(), (path + ".1").c_str()), 0);
    append(path + ".1", "two\n");  // until the auditor hears of it
    cr_assert(collect(*follower) == Words{"two"});
    append(path + ".1", "three\n");
    append(path, "four\n");
    cr_assert(collect(*follower) == (Words{"three", "four"}));
    append(path, "five\n");
    cr_assert(collect(*follower) == Words{"five"});
}

Test(auditor_reading, a_file_that_is_emptied_is_followed) {
    const Scratch scratch;
    const std::string path = scratch.path("audit.jsonl");
    append(path, "one\ntwo\nthr");
    auto follower = Follower::open(path);
    cr_assert(follower);
    cr_assert_eq(collect(*follower).size(), 2);
    cr_assert_eq(truncate(path.c_str(), 0), 0);
    append(path, "new\n");
    cr_assert(collect(*follower) == Words{"new"});
    cr_assert(!Follower::open(scratch.path("absent")));
}
