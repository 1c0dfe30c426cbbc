// SPDX-License-Identifier: LGPL-2.1-or-later
// ctl_locks - tests of what "virtgate locks" shows: columns, ages, JSON, and names that want to be more than a name.
#include <criterion/criterion.h>

#include <nlohmann/json.hpp>

#include "ctl/locks/listing.h"
#include "libshared/base/bytes.h"

using namespace virtgate;
using namespace virtgate::ctl::locks;

namespace {

constexpr std::int64_t k_now = 1'700'000'000;

std::vector<std::byte> bytes(std::string_view text) {
    const ByteView view = as_bytes(text);
    return {view.begin(), view.end()};
}

proto::locks::ListedHold hold(std::string_view name, std::string_view owner = "web") {
    proto::locks::ListedHold one;
    one.space = bytes("/srv/locks");
    one.name = bytes(name);
    one.owner = bytes(owner);
    one.process = 4711;
    one.since = k_now - 180;
    one.listener = 2;
    one.peer_process = 12;
    return one;
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1)
        lines.push_back(text.substr(at, text.find('\n', at) - at));
    return lines;
}

}  // namespace

Test(ctl_locks, ages_are_in_words) {
    for (const auto& [seconds, words] :
         std::vector<std::pair<std::int64_t, std::string>>{{-5, "less than a second"},
                                                           {0, "less than a second"},
                                                           {1, "1 second"},
                                                           {119, "119 seconds"},
                                                           {120, "2 minutes"},
                                                           {7'199, "119 minutes"},
                                                           {7'200, "2 hours"},
                                                           {172'799, "47 hours"},
                                                           {172'800, "2 days"},
                                                           {86'400 * 400, "400 days"}})
        cr_assert(describe_age(seconds) == words, "%lld: %s", static_cast<long long>(seconds),
                  describe_age(seconds).c_str());
}

Test(ctl_locks, columns_stand_below_each_other_whatever_is_in_them) {
    Holds holds{hold("a"), hold("a much longer name"), hold("schl\xc3\xbcssel", "\x1b[2J\nroot"), hold("")};
    holds[1].shared = true;
    holds[2].connected = true;
    const auto lines = lines_of(list_text(holds, k_now));
    cr_assert_eq(lines.size(), 5, "a name cannot begin another line");
    const std::size_t column = lines[0].find("MODE");
    cr_assert_eq(lines[1].compare(column, 9, "exclusive"), 0);
    cr_assert_eq(lines[2].compare(column, 6, "shared"), 0, "%s", lines[2].c_str());
    cr_assert_eq(lines[3].compare(column + 1, 9, "exclusive"), 0, "ü has two bytes and one column");
    cr_assert(lines[2].find("\"a much longer name\"") != std::string::npos);
    cr_assert(lines[3].find("\"\\x1b[2J\\x0aroot\"") != std::string::npos, "%s", lines[3].c_str());
    cr_assert(lines[3].find("4711, connected") != std::string::npos);
    cr_assert(lines[1].find("3 minutes  libvirt_socket, process 12 of user 0") != std::string::npos, "%s",
              lines[1].c_str());
    cr_assert(lines[4].find("\"\"") != std::string::npos);
    cr_assert(list_text(Holds{}, k_now) == "no lock is held\n");
}

Test(ctl_locks, tokens_have_a_column_where_there_are_some) {
    Holds holds{hold("a"), hold("b")};
    cr_assert(list_text(holds, k_now).find("TOKEN") == std::string::npos);
    holds[1].token = 42;
    const auto lines = lines_of(list_text(holds, k_now));
    const std::size_t column = lines[0].find("TOKEN");
    cr_assert_eq(lines[1].compare(column, 2, "- "), 0);
    cr_assert_eq(lines[2].compare(column, 3, "42 "), 0);
}

Test(ctl_locks, a_session_is_no_process) {
    Holds holds{hold("a")};
    holds[0].kind = proto::locks::ListedKind::listed_session;
    holds[0].session = 7;
    holds[0].connected = true;
    const std::string text = list_text(holds, k_now);
    cr_assert(text.find("session, connected  3 minutes  session 7\n") != std::string::npos, "%s",
              text.c_str());
    const auto json = nlohmann::json::parse(list_json(holds));
    cr_assert(json["locks"][0]["owner"]["kind"] == "session" && json["locks"][0]["through"]["session"] == 7);
    cr_assert(describe_owner(proto::locks::ListedKind::listed_identity, 0) == "an identity");
}

Test(ctl_locks, json_has_everything) {
    Holds holds{hold("a"), hold("\xff\n")};
    holds[0].uuid[15] = std::byte{7};
    holds[0].token = 42;
    const auto json = nlohmann::json::parse(list_json(holds));
    cr_assert_eq(json["locks"].size(), 2);
    const auto& first = json["locks"][0];
    cr_assert(first["space"] == "/srv/locks" && first["resource"] == "a" && first["mode"] == "exclusive");
    cr_assert(first["owner"]["uuid"] == "00000000-0000-0000-0000-000000000007" && first["token"] == 42);
    cr_assert(first["since"] == "2023-11-14T22:10:20Z" && first["through"]["listener"] == "libvirt_socket");
    cr_assert(json["locks"][1]["resource"] == "\xef\xbf\xbd\n" && json["locks"][1]["token"].is_null());
}

Test(ctl_locks, spaces_are_listed) {
    Spaces spaces{{.path = {}, .kind = proto::locks::SpaceKind::space_files, .usable = true, .held = 2},
                  {.path = bytes("/srv/locks"),
                   .kind = proto::locks::SpaceKind::space_directory,
                   .usable = false,
                   .held = 0}};
    const auto lines = lines_of(list_text(spaces));
    cr_assert(lines[1] == "direct      files      2     usable", "%s", lines[1].c_str());
    cr_assert(lines[2] == "/srv/locks  directory  0     not usable", "%s", lines[2].c_str());
    cr_assert(nlohmann::json::parse(list_json(spaces))["spaces"][1]["usable"] == false);
}

Test(ctl_locks, a_uuid_is_read_as_it_is_shown) {
    const auto uuid = parse_uuid("7A0bb41b-68b2-4683-84e5-9502892bea09");
    cr_assert(uuid && to_text(*uuid) == "7a0bb41b-68b2-4683-84e5-9502892bea09");
    for (const char* wrong :
         {"", "7a0bb41b", "7a0bb41b-68b2-4683-84e5-9502892bea0g", "7a0bb41b68b2468384e59502892bea0900"})
        cr_assert(!parse_uuid(wrong), "%s", wrong);
}
