// SPDX-License-Identifier: LGPL-2.1-or-later
// ctl_discover - what was found on the network, put together and shown; some of it by somebody who means no good.
#include <criterion/criterion.h>

#include <nlohmann/json.hpp>

#include "ctl/discover/listing.h"
#include "ctl/discover/servers.h"

using namespace virtgate::ctl::discover;

namespace {

const Name k_name{"Virtualization Host kvm1", "local"};
const Way k_way{2, 0}, k_other_way{2, 1};

Sighting sighting(std::string address = "192.0.2.1", std::uint16_t port = 16514) {
    return {.host = "kvm1.local",
            .port = port,
            .address = std::move(address),
            .details = {{"product", "virtgate"}, {"version", "1.2"}, {"transport", "tls"}}};
}

Server server(std::string host, std::uint16_t port, std::map<std::string, std::string> details = {}) {
    return {.name = k_name,
            .host = std::move(host),
            .port = port,
            .addresses = {},
            .details = std::move(details)};
}

}  // namespace

Test(discover_servers, one_server_for_all_ways_to_it) {
    Servers servers;
    const auto found = servers.add(k_name, k_way, sighting());
    cr_assert(found && found->addresses == std::set<std::string>{"192.0.2.1"});
    cr_assert(!servers.add(k_name, k_way, sighting()), "said twice");
    const auto more = servers.add(k_name, k_other_way, sighting("fe80::1%eth0"));
    cr_assert(more && more->addresses.size() == 2);
    cr_assert_eq(servers.list().size(), 1);
    cr_assert(!servers.remove(k_name, k_way), "it is still there");
    cr_assert(!servers.remove(k_name, k_way), "removed twice");
    const auto gone = servers.remove(k_name, k_other_way);
    cr_assert(gone && gone->addresses == std::set<std::string>{"fe80::1%eth0"});
    cr_assert(servers.list().empty() && !servers.has(k_name));
}

Test(discover_servers, a_change_is_news) {
    Servers servers;
    cr_assert(servers.add(k_name, k_way, sighting()).has_value());
    const auto changed = servers.add(k_name, k_way, sighting("192.0.2.1", 17000));
    cr_assert(changed && changed->port == 17000);
}

Test(discover_servers, there_is_an_end_to_what_is_kept) {
    Servers servers;
    for (std::size_t i = 0; i < Servers::k_sightings_max; ++i)
        cr_assert(servers.add({std::to_string(i), "local"}, k_way, sighting()).has_value());
    cr_assert(!servers.add({"one more", "local"}, k_way, sighting()));
    cr_assert_eq(servers.list().size(), Servers::k_sightings_max);
    cr_assert(!servers.has({"one more", "local"}));
    cr_assert(servers.remove({"0", "local"}, k_way).has_value());
    cr_assert(servers.add({"one more", "local"}, k_way, sighting()).has_value());
}

Test(discover_servers, uri_is_one_that_clients_understand) {
    struct Case {
        Server server;
        const char* uri;
    };
    const Case cases[] = {
        {server("a.local", 16514), "remote+tls://a.local/"},
        {server("a.local", 17000), "remote+tls://a.local:17000/"},
        {server("a.local", 16509), "remote+tcp://a.local/"},
        {server("a.local", 16509, {{"transport", "tls"}}), "remote+tls://a.local:16509/"},
        {server("a.local", 5, {{"transport", "tcp"}}), "remote+tcp://a.local:5/"},
        {server("a.local", 16514, {{"transport", "ext"}}), "remote+tls://a.local/"},
        {server("", 16514), ""},
        {server("-oProxyCommand", 16514), ""},
        {server("a b", 16514), ""},
        {server("a;reboot", 16514), ""},
        {server("a/..", 16514), ""},
        {server("a\n", 16514), ""},
    };
    for (const auto& [one, uri] : cases) cr_expect(one.uri() == uri, "%s, not %s", one.uri().c_str(), uri);
}

Test(discover_servers, version_is_virtgates) {
    cr_assert_str_eq(server("a", 1, {{"product", "virtgate"}, {"version", "3"}}).version().c_str(), "3");
    cr_assert(server("a", 1, {{"product", "other"}, {"version", "3"}}).version().empty());
    cr_assert(server("a", 1, {{"version", "3"}}).version().empty());
}

Test(discover_listing, table_has_a_line_for_each) {
    Servers servers;
    servers.add(k_name, k_way, sighting());
    servers.add(k_name, k_other_way, sighting("2001:db8::1"));
    servers.add({"old", "local"}, k_way, {"old.local", 16509, "192.0.2.9", {}});
    const std::string text = list_text(servers.list());
    cr_assert_str_eq(text.c_str(),
                     "NAME                        HOST        PORT   ADDRESSES              VERSION  URI\n"
                     "\"Virtualization Host kvm1\"  kvm1.local  16514  192.0.2.1,2001:db8::1  1.2      "
                     "remote+tls://kvm1.local/\n"
                     "old                         old.local   16509  192.0.2.9              -        "
                     "remote+tcp://old.local/\n");
    cr_assert(list_text({}) == "No server was found.\n");
}

Test(discover_listing, whatever_a_server_says_stays_on_its_line) {
    Servers servers;
    servers.add({"x\n\x1b[2J y\" z", "local"}, k_way,
                {"evil\r.local", 1, "192.0.2.1", {{"product", "virtgate"}, {"version", "\xff\t1"}}});
    const std::string text = list_text(servers.list()) + event_text("found", servers.list().front());
    cr_assert_eq(std::count(text.begin(), text.end(), '\n'), 3);
    for (const char c : text) cr_assert(c == '\n' || (c >= ' ' && c <= '~'), "%02x", c);
    cr_assert(text.find("\\x1b[2J") != text.npos);
    const std::string json = list_json(servers.list());
    for (const char c : json) cr_assert(c == '\n' || (c >= ' ' && c <= '~'), "%02x", c);
    cr_assert_str_eq(nlohmann::json::parse(json)["servers"][0]["name"].get<std::string>().c_str(),
                     "x\n\x1b[2J y\" z");
}

Test(discover_listing, json_has_everything) {
    Servers servers;
    servers.add(k_name, k_way, sighting());
    const auto json = nlohmann::json::parse(list_json(servers.list()))["servers"][0];
    cr_assert(json == nlohmann::json::parse(R"({"name": "Virtualization Host kvm1", "domain": "local",
        "host": "kvm1.local", "port": 16514, "addresses": ["192.0.2.1"], "version": "1.2", "transport": "tls",
        "uri": "remote+tls://kvm1.local/",
        "txt": {"product": "virtgate", "version": "1.2", "transport": "tls"}})"));
    const std::string line = event_json("gone", server("no host", 1));
    cr_assert(line.ends_with("\n") && line.find('\n') == line.size() - 1);
    const auto event = nlohmann::json::parse(line);
    cr_assert(event["event"] == "gone" && event["uri"].is_null() && event["version"].is_null());
    cr_assert(nlohmann::json::parse(list_json({}))["servers"].empty());
}
