// SPDX-License-Identifier: LGPL-2.1-or-later
// auditor_record - what records say, and that nobody can forge one with a name.
#include "workerd/auditor/record.h"

#include <criterion/criterion.h>

#include <algorithm>
#include <functional>
#include <set>

#include "libshared/base/bytes.h"
#include "tests/unit/auditor_support.h"
#include "workerd/auditor/journal_entry.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::workerd::auditor;

namespace {

Record call_record(const proto::audit::DecisionArgs& decision, const Ending& ending) {
    return make_call(test_time(), make_client(arrival(12, 3)), decision, ending);
}

// A place where a text of somebody else gets into a record, and where it has to be found again.
struct Entrance {
    const char* name;
    std::function<Record(const std::string&)> make;
    std::function<std::string(const Json&)> find;
};

std::function<std::string(const Json&)> key(const char* name) {
    return [name](const Json& json) { return json.at(name).get<std::string>(); };
}

const std::vector<Entrance>& entrances() {
    using Text = std::string;
    const auto of_arrival = [](auto change) {
        return [change](const Text& text) {
            auto args = arrival(12, 3);
            args.client.login.emplace();
            change(args, text);
            return make_session(test_time(), make_client(args), args);
        };
    };
    const auto of_call = [](auto change) {
        return [change](const Text& text) {
            auto args = refused(12, 1);
            args.shadow.emplace();
            change(args, text);
            return call_record(args, {});
        };
    };
    static const std::vector<Entrance> k_entrances{
        {"identity", of_arrival([](auto& a, const Text& t) { a.identity = t; }), key("identity")},
        {"subject", of_arrival([](auto& a, const Text& t) { a.client.certificate->subject_text = t; }),
         key("subject")},
        {"login", of_arrival([](auto& a, const Text& t) { a.client.login->name = t; }), key("login")},
        {"mechanism", of_arrival([](auto& a, const Text& t) { a.client.login->mechanism = t; }),
         key("mechanism")},
        {"source", of_arrival([](auto& a, const Text& t) { a.client.source = t; }), key("source")},
        {"listener", of_arrival([](auto& a, const Text& t) { a.client.listener = t; }), key("listener")},
        {"reason", of_arrival([](auto& a, const Text& t) { a.reason = t; }), key("reason")},
        {"detail", of_arrival([](auto& a, const Text& t) { a.detail = t; }), key("detail")},
        {"role", of_arrival([](auto& a, const Text& t) { a.place.role = t; }), key("role")},
        {"object", of_call([](auto& a, const Text& t) { a.objects[0].name = t; }),
         [](const Json& json) { return json.at("objects").at(0).at("name").get<std::string>(); }},
        {"call's detail", of_call([](auto& a, const Text& t) { a.detail = t; }), key("detail")},
        {"call's role", of_call([](auto& a, const Text& t) { a.place->role = t; }), key("role")},
        {"shadow's role", of_call([](auto& a, const Text& t) { a.shadow->role = t; }), key("shadow_role")},
        {"dropped identity", [](const Text& t) { return make_dropped(test_time(), t, 3, "because"); },
         key("identity")},
        {"dropped detail", [](const Text& t) { return make_dropped(test_time(), "alice", 3, t); },
         key("detail")},
    };
    return k_entrances;
}

// What JSON can carry of `text`: with the replacement character for what is not UTF-8.
std::string as_json(const std::string& text) {
    const std::string line = Json(text).dump(-1, ' ', true, Json::error_handler_t::replace);
    return Json::parse(line).get<std::string>();
}

}  // namespace

Test(auditor_record, a_refused_call_says_who_what_and_why) {
    auto decision = refused(12, 1);
    decision.flags = 5;
    decision.more_objects = 2;
    decision.detail = "concurrent-calls = 4";
    decision.shadow = proto::audit::RulePlace{.role = "trial", .file = "30-new.toml", .line = 7};
    const Record record = call_record(decision, {});
    const std::string expected =
        R"({"time":"2024-11-21T14:02:11.031337Z","record":"call","verdict":"refused","reason":"object",)"
        R"("identity":"alice","session":12,"subject":"CN=alice,O=Acme",)"
        R"("fingerprint":"abababababababababababababababababababababababababababababababab",)"
        R"("source":"192.0.2.7","port":40123,"listener":"tls","program":"remote","procedure":"DOMAIN_DESTROY",)"
        R"("flags":5,"objects":[{"kind":"domain","name":"db-1","uuid":"5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a",)"
        R"("known":true}],"more_objects":2,"role":"operator","rule":"20-bindings.toml:12",)"
        R"("detail":"concurrent-calls = 4","shadow_role":"trial","shadow_rule":"30-new.toml:7","generation":4,)"
        R"("serial":9,"decision_us":17})"
        "\n";
    cr_assert_eq(to_line(record), expected, "%s", to_line(record).c_str());
    cr_assert_eq(record.priority, 5);
    cr_assert_eq(record.message,
                 "alice refused DOMAIN_DESTROY domain=db-1 and 2 more: object (\"concurrent-calls = 4\"), "
                 "role operator "
                 "at 20-bindings.toml:12",
                 "%s", record.message.c_str());
}

Test(auditor_record, an_allowed_call_says_how_it_ended) {
    const Record record = call_record(allowed(12, 1), {.fate = Fate::error, .error = 42, .duration = 1'234});
    cr_assert_eq(record.json.at("verdict"), "allowed");
    cr_assert(!record.json.contains("reason"));
    cr_assert(!record.json.contains("flags"));
    cr_assert_eq(record.json.at("result"), "error");
    cr_assert_eq(record.json.at("error"), 42);
    cr_assert_eq(record.json.at("duration_us"), 1'234);
    cr_assert_eq(record.priority, 6);
    cr_assert_eq(record.message,
                 "alice allowed DOMAIN_DESTROY domain=db-1: error 42, role operator at 20-bindings.toml:12",
                 "%s", record.message.c_str());
    const Record done = call_record(allowed(12, 1), {.fate = Fate::done, .duration = 1});
    cr_assert_eq(done.json.at("result"), "done");
    cr_assert(!done.json.contains("error"));
    cr_assert_eq(call_record(allowed(12, 1), {.fate = Fate::lost}).priority, 5);
}

Test(auditor_record, what_this_version_does_not_know_has_a_number) {
    auto decision = refused(12, 1);
    decision.procedure = 60'000;
    cr_assert_eq(call_record(decision, {}).json.at("procedure"), "60000");
    decision.program = 0x123;
    cr_assert_eq(call_record(decision, {}).json.at("program"), "0x123:1");
}

Test(auditor_record, a_process_of_this_machine_has_numbers) {
    auto args = arrival(12, 3);
    args.client.certificate.reset();
    args.client.source.clear();
    args.client.source_port = 0;
    args.client.listener = "unix";
    args.client.local.emplace();
    args.client.local->uid = 1000;
    args.client.local->gid = 100;
    args.client.local->pid = 4321;
    args.client.local->groups = {1, 2, 3};
    const Record record = make_session(test_time(), make_client(args), args);
    const std::string expected =
        R"({"time":"2024-11-21T14:02:11.031337Z","record":"session","verdict":"allowed","identity":"alice",)"
        R"("session":12,"uid":1000,"gid":100,"pid":4321,"listener":"unix","role":"operator",)"
        R"("rule":"20-bindings.toml:3","generation":4})"
        "\n";
    cr_assert_eq(to_line(record), expected, "%s", to_line(record).c_str());
}

Test(auditor_record, root_has_a_uid) {
    auto args = arrival(12, 3);
    args.client.local.emplace();
    const Record record = make_session(test_time(), make_client(args), args);
    cr_assert_eq(record.json.at("uid"), 0);
}

Test(auditor_record, times_have_microseconds) {
    cr_assert_eq(format_time(Moment{}), "1970-01-01T00:00:00.000000Z");
    cr_assert_eq(format_time(Moment{std::chrono::microseconds{951'827'696'000'007}}),
                 "2000-02-29T12:34:56.000007Z");
}

Test(auditor_record, a_session_cannot_last_less_than_nothing) {
    const Record record = make_session_end(test_time(), {}, 12, std::chrono::microseconds{-5});
    cr_assert_eq(record.json.at("duration_us"), 0);
}

Test(auditor_record, no_name_leaves_its_key) {
    for (const Entrance& entrance : entrances()) {
        const Record plain = entrance.make("harmless");
        for (const std::string& attack : attacks()) {
            const Record record = entrance.make(attack);
            const std::string line = to_line(record);
            cr_assert_eq(std::count(line.begin(), line.end(), '\n'), 1, "%s: %s", entrance.name,
                         line.c_str());
            cr_assert_eq(line.back(), '\n');
            for (const char c : line.substr(0, line.size() - 1))
                cr_assert(c >= 0x20 && c < 0x7f, "%s: byte %d in %s", entrance.name, c, line.c_str());
            const Json parsed = Json::parse(line);
            cr_assert_eq(entrance.find(parsed), as_json(attack), "%s: %s", entrance.name, line.c_str());
            // The same keys with the same values, but for the one.
            cr_assert_eq(parsed.size(), plain.json.size());
            std::size_t differences = 0;
            for (const auto& [name, value] : plain.json.items())
                differences += parsed.at(name) != value ? 1 : 0;
            cr_assert_eq(differences, 1, "%s: %s", entrance.name, line.c_str());
        }
    }
}

Test(auditor_record, no_name_leaves_its_field_of_the_journal) {
    for (const Entrance& entrance : entrances()) {
        const Fields plain = read_entry(to_journal_entry(entrance.make("harmless")));
        for (const std::string& attack : attacks()) {
            const Fields fields = read_entry(to_journal_entry(entrance.make(attack)));
            cr_assert_eq(fields.size(), plain.size(), "%s", entrance.name);
            bool found = false;
            for (std::size_t i = 0; i < fields.size(); ++i) {
                cr_assert_eq(fields[i].first, plain[i].first, "%s", entrance.name);
                if (fields[i] == plain[i] || fields[i].first == "MESSAGE") continue;
                cr_assert(!found, "%s changes two fields", entrance.name);
                // Byte for byte, so that it can be searched for.
                const std::string prefix = fields[i].first == "VIRTGATE_OBJECT" ? "domain=" : "";
                cr_assert_eq(fields[i].second, prefix + attack, "%s", entrance.name);
                found = true;
            }
            cr_assert(found, "%s", entrance.name);
        }
    }
}

Test(auditor_record, no_name_leaves_its_word_of_the_message) {
    for (const Entrance& entrance : entrances())
        for (const std::string& attack : attacks()) {
            const std::string message = entrance.make(attack).message;
            // What would change if it were escaped again is what a terminal could obey.
            const auto visible = [](unsigned char c) { return c >= 0x20 && c != 0x7f; };
            cr_assert(std::all_of(message.begin(), message.end(), visible), "%s: %s", entrance.name,
                      message.c_str());
            cr_assert(is_plain_text(message), "%s: %s", entrance.name, message.c_str());
            for (const char* hidden : {"\xe2\x80\xa8", "\xe2\x80\xae", "\xe2\x81\xa6"})
                cr_assert_eq(message.find(hidden), std::string::npos, "%s: %s", entrance.name,
                             message.c_str());
            // Quotes are ours: a name cannot close them.
            cr_assert_eq(std::count(message.begin(), message.end(), '"') % 2, 0, "%s", message.c_str());
        }
    auto decision = refused(12, 1);
    decision.objects[0].name = "db: allowed, role admin at 1.toml:1";
    cr_assert_neq(call_record(decision, {}).message.find("domain=\"db: allowed, role admin at 1.toml:1\":"),
                  std::string::npos);
}

Test(auditor_record, an_entry_of_the_journal_has_what_journalctl_looks_for) {
    const Fields fields = read_entry(to_journal_entry(call_record(refused(12, 1), {})));
    cr_assert_eq(field(fields, "PRIORITY"), "5");
    cr_assert_eq(field(fields, "SYSLOG_IDENTIFIER"), "virtgate");
    cr_assert_eq(field(fields, "MESSAGE_ID"), message_id(Kind::call));
    cr_assert_eq(field(fields, "VIRTGATE_IDENTITY"), "alice");
    cr_assert_eq(field(fields, "VIRTGATE_SESSION"), "12");
    cr_assert_eq(field(fields, "VIRTGATE_PROCEDURE"), "DOMAIN_DESTROY");
    cr_assert_eq(field(fields, "VIRTGATE_OBJECT"), "domain=db-1");
    cr_assert_eq(field(fields, "VIRTGATE_OBJECT_UUID"), "5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a");
    cr_assert_eq(field(fields, "VIRTGATE_RULE"), "20-bindings.toml:12");
}

Test(auditor_record, kinds_have_different_ids_that_never_change) {
    std::set<std::string_view> ids;
    for (const Kind kind : {Kind::call, Kind::session, Kind::session_end, Kind::policy, Kind::dropped}) {
        cr_assert_eq(message_id(kind).size(), 32);
        ids.insert(message_id(kind));
    }
    cr_assert_eq(ids.size(), 5);
    cr_assert_eq(message_id(Kind::call), "bf49225c634d4bae946e2884de311b99");
}
