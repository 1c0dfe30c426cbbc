// SPDX-License-Identifier: LGPL-2.1-or-later
// pki_words - names, dates, peers, reports and archives of "virtgate pki": what needs no certificate.
#include <criterion/criterion.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ctl/pki/check.h"
#include "ctl/pki/lifetime.h"
#include "ctl/pki/names.h"
#include "ctl/pki/report.h"
#include "ctl/pki/tar.h"

using namespace virtgate;
using namespace virtgate::ctl::pki;

namespace {

constexpr std::time_t k_now = 1'800'000'000;

}  // namespace

Test(pki, spans_of_time_in_words) {
    cr_assert_eq(say_span(59), "less than a minute");
    cr_assert_eq(say_span(60), "1 minute");
    cr_assert_eq(say_span(2 * 60 * 60 - 1), "1 hour");
    cr_assert_eq(say_span(k_day), "1 day");
    cr_assert_eq(say_span(14 * k_day - 1), "13 days");
    cr_assert_eq(say_span(14 * k_day), "2 weeks");
    cr_assert_eq(say_span(-365 * k_day), "12 months");
    cr_assert_eq(say_span(3650 * k_day), "10 years");
    cr_assert_eq(say_expiry(k_now, k_now - 1, k_now + 21 * k_day), "expires in 3 weeks");
    cr_assert_eq(say_expiry(k_now, k_now - 10 * k_day, k_now - 2 * k_day), "expired 2 days ago");
    cr_assert_eq(say_expiry(0, 60, 120), "not valid before 1970-01-01 00:01 UTC");
}

Test(pki, names_of_servers_are_sorted_and_brought_into_one_form) {
    const Result<ServerNames> names =
        parse_server_names({"Host1.Example.ORG.", "192.0.2.1", "[2001:db8:0:0::1]", "host1.example.org",
                            "*.example.org", "::1"});
    cr_assert(names.has_value(), "%s", names ? "" : names.error().text.c_str());
    cr_assert_eq(names->common_name, "host1.example.org");
    cr_assert_eq(names->dns, (std::vector<std::string>{"host1.example.org", "*.example.org"}));
    cr_assert_eq(names->addresses, (std::vector<std::string>{"192.0.2.1", "2001:db8::1", "::1"}));
    for (const char* name : {"", ".", "a..b", "-a", "a-", "a b", "a/b", "..", "*.org", "a.*.org", "*",
                             "1.2.3", "256.1.1.1", "host:1", "[::1", "host_1", "\xff"})
        cr_assert_not(parse_server_names({name}).has_value(), "%s", name);
    cr_assert_not(parse_server_names({std::string(64, 'a')}).has_value());
    std::string longest = std::string(63, 'a') + "." + std::string(63, 'b');
    cr_assert_not(parse_server_names({longest}).has_value());  // no common name
    cr_assert(parse_server_names({"short", longest}).has_value());
}

Test(pki, names_that_could_be_read_in_two_ways_are_refused) {
    using namespace std::string_literals;
    for (const std::string& name :
         {"alice"s, "Alice Smith"s, "alice@example.org"s, "Zo\u00eb"s, std::string(64, 'x')})
        cr_assert(check_client_name(name).has_value(), "%s", name.c_str());
    for (const std::string& name :
         {""s, "x,CN=admin"s, "a=b"s, "a+b"s, "a\\b"s, "a\"b"s, "a\0b"s, "a\nb"s, "a\x7f"s, " a"s, "a "s,
          "a/b"s, ".."s, ".a"s, "-a"s, "\xc3\x28"s, "#a"s, std::string(65, 'x')})
        cr_assert_not(check_client_name(name).has_value(), "%s", name.c_str());
    cr_assert_eq(directory_name("*.example.org"), "_.example.org");
}

Test(pki, peers_as_people_write_them) {
    struct Case {
        const char *word, *host, *port, *pkipath;
    };
    for (const Case& c :
         {Case{"host1", "host1", "", ""}, Case{"host1:443", "host1", "443", ""}, Case{"::1", "::1", "", ""},
          Case{"[::1]:16514", "::1", "16514", ""},
          Case{"qemu+tls://root@host1:1/system?no_tty=1&pkipath=/a%20b&x=y#z", "host1", "1", "/a b"},
          Case{"qemu://[2001:db8::1]/system", "2001:db8::1", "", ""},
          Case{"test://h?pkipath=/a%2", "h", "", "/a%2"}}) {
        const Result<Peer> peer = parse_peer(c.word);
        cr_assert(peer.has_value(), "%s", c.word);
        cr_assert_eq(peer->host, c.host, "%s", c.word);
        cr_assert_eq(peer->port, c.port, "%s", c.word);
        cr_assert_eq(peer->pkipath, c.pkipath, "%s", c.word);
    }
    for (const char* word : {"", ":1", "host:", "host:0", "host:65536", "host:1x", "[::1", "[::1]1",
                             "qemu:///system", "host:99999999999999999999"})
        cr_assert_not(parse_peer(word).has_value(), "%s", word);
}

Test(pki, reports_count_and_survive_any_text) {
    Report report;
    report.good("a", "b");
    cr_assert_eq(report.to_text(), "good     a: b\nno problems, no warnings\n");
    report.warn("w", "a\xff", "what", "remedy");
    report.refuse("p", "a", "what", "remedy");
    cr_assert(report.has("p") && !report.has("q"));
    cr_assert_eq(report.count(Level::problem), 1u);
    const auto document = nlohmann::json::parse(report.to_json());
    cr_assert_eq(document["good"].get<bool>(), false);
    cr_assert_eq(document["findings"].size(), 3u);
    cr_assert_eq(document["findings"][2]["code"].get<std::string>(), "p");
}

Test(pki, archives_have_the_layout_of_ustar) {
    const std::string big(1025, 'x');
    const std::string archive = make_tar({{"key.pem", 0600, "abc"}, {"big", 0644, big}}, 0x5f5e100);
    cr_assert_eq(archive.size() % 10240, 0u);
    cr_assert_eq(archive.substr(0, 8), std::string_view("key.pem\0", 8));
    cr_assert_eq(archive.substr(100, 8), std::string_view("0000600\0", 8));
    cr_assert_eq(archive.substr(124, 12), std::string_view("00000000003\0", 12));
    cr_assert_eq(archive.substr(136, 12), std::string_view("00575360400\0", 12));
    cr_assert_eq(archive.substr(156, 1), "0");
    cr_assert_eq(archive.substr(257, 8), std::string_view("ustar\00000", 8));
    unsigned long sum = 8 * ' ';
    for (std::size_t i = 0; i < 512; ++i)
        if (i < 148 || i >= 156) sum += static_cast<unsigned char>(archive[i]);
    cr_assert_eq(std::stoul(archive.substr(148, 6), nullptr, 8), sum);
    cr_assert_eq(archive.substr(512, 4), std::string_view("abc\0", 4));
    cr_assert_eq(archive.substr(1024, 3), "big");
    cr_assert_eq(archive.substr(1536, 1025), big);
    // After the padding of the last file there is nothing but the end.
    cr_assert_eq(archive.find_first_not_of('\0', 1536 + 1025), std::string::npos);
}
