// SPDX-License-Identifier: LGPL-2.1-or-later
// config - what a settings file gives, and that each mistake is reported at its place.
#include <criterion/criterion.h>

#include "libshared/config/document.h"

using namespace virtgate;
using namespace virtgate::config;

namespace {

std::unique_ptr<Document> parse(std::string_view text) {
    auto document = Document::parse(text, "netd.toml");
    cr_assert(document.has_value(), "%s", document.has_value() ? "" : document.error().text.c_str());
    return std::move(*document);
}

// Reads the settings below and returns the complaints.
std::string complaints(std::string_view text) {
    auto document = parse(text);
    Section root = document->root();
    static_cast<void>(root.text("log_level", "info"));
    Section tls = root.section("tls");
    static_cast<void>(tls.integer("port", 16514, 0, 65535));
    static_cast<void>(tls.text("address", "::"));
    static_cast<void>(root.section("limits").seconds("handshake", Milliseconds(10000), Milliseconds(1),
                                                     Milliseconds(60000)));
    static_cast<void>(root.boolean("user_switch", true));
    static_cast<void>(root.texts("names"));
    for (Section& upstream : root.sections("upstream")) static_cast<void>(upstream.text("uri", ""));
    const Done done = document->finish();
    return done ? "" : done.error().text;
}

}  // namespace

Test(config, gives_values_and_defaults) {
    auto document = parse(
        "gates = 3\nuser_switch = false\nnames = ['a', 'b']\n[limits]\nhandshake = 2.5\npartial = 7\n"
        "[[upstream]]\nuri = 'x'\n[[upstream]]\nuri = 'y'\n");
    Section root = document->root();
    cr_assert_eq(root.integer("gates", 0, 0, 64), 3);
    cr_assert_eq(root.integer("absent", 5, 0, 64), 5);
    cr_assert_eq(root.boolean("user_switch", true), false);
    cr_assert_eq(root.text("log_level", "info"), "info");
    cr_assert_eq(root.texts("names").size(), 2);
    Section limits = root.section("limits");
    cr_assert_eq(limits.seconds("handshake", Milliseconds(0), Milliseconds(0), Milliseconds(9000)).count(),
                 2500);
    cr_assert_eq(limits.seconds("partial", Milliseconds(0), Milliseconds(0), Milliseconds(9000)).count(),
                 7000);
    auto upstreams = root.sections("upstream");
    cr_assert_eq(upstreams.size(), 2);
    cr_assert_eq(upstreams[1].text("uri", ""), "y");
    cr_assert_eq(root.section("nothing").text("key", "default"), "default");
    cr_assert(document->finish().has_value());
}

Test(config, reports_unknown_keys_with_the_nearest_known_one) {
    cr_assert_eq(complaints("[tls]\n  prot = 5\n"),
                 "netd.toml:2:3: error: unknown key \"prot\" in [tls] (did you mean \"port\"?)");
    cr_assert_eq(complaints("zzzzzzzzz = 1\n"), "netd.toml:1:1: error: unknown key \"zzzzzzzzz\"");
    cr_assert_eq(complaints("[tsl]\nport = 1\n"),
                 "netd.toml:1:2: error: unknown key \"tsl\" (did you mean \"tls\"?)");
    cr_assert_eq(complaints("[[upstream]]\nurl = 'x'\n"),
                 "netd.toml:2:1: error: unknown key \"url\" in [upstream] (did you mean \"uri\"?)");
}

Test(config, reports_wrong_types_and_ranges) {
    cr_assert_eq(complaints("[tls]\nport = \"16514\"\n"),
                 "netd.toml:2:8: error: \"port\" has to be an integer, not a text");
    cr_assert_eq(complaints("[tls]\nport = 65536\n"),
                 "netd.toml:2:8: error: \"port\" has to be between 0 and 65535");
    cr_assert_eq(complaints("log_level = 3\n"),
                 "netd.toml:1:13: error: \"log_level\" has to be a text, not an integer");
    cr_assert_eq(complaints("tls = 3\n"),
                 "netd.toml:1:7: error: \"tls\" has to be a table ([tls]), not an integer");
    cr_assert_eq(complaints("user_switch = 1\n"),
                 "netd.toml:1:15: error: \"user_switch\" has to be true or false, not an integer");
    cr_assert_eq(complaints("names = [\"a\",\n 4]\n"),
                 "netd.toml:2:2: error: \"names\" has to be a list of texts, not of an integer");
    cr_assert_eq(complaints("[limits]\nhandshake = 0.0001\n"),
                 "netd.toml:2:13: error: \"handshake\" has to be between 0.001 and 60 seconds");
    cr_assert_eq(complaints("[limits]\nhandshake = nan\n"),
                 "netd.toml:2:13: error: \"handshake\" has to be between 0.001 and 60 seconds");
    cr_assert_eq(complaints("[limits]\nhandshake = true\n"),
                 "netd.toml:2:13: error: \"handshake\" has to be a number of seconds, not a boolean");
    cr_assert_eq(complaints("log_level = \"a\\u0000b\"\n"),
                 "netd.toml:1:13: error: \"log_level\" contains a control character");
}

Test(config, reports_everything_in_the_order_of_the_file) {
    cr_assert_eq(complaints("log_level = 3\nfoo = 1\n[tls]\nport = -1\n"),
                 "netd.toml:1:13: error: \"log_level\" has to be a text, not an integer\n"
                 "netd.toml:2:1: error: unknown key \"foo\"\n"
                 "netd.toml:4:8: error: \"port\" has to be between 0 and 65535");
}

Test(config, reports_what_is_not_toml_at_its_place) {
    const auto broken = Document::parse("a = 1\nb = = 2\n", "netd.toml");
    cr_assert(!broken.has_value());
    cr_assert(broken.error().text.starts_with("netd.toml:2:5: error: "), "%s", broken.error().text.c_str());
    const auto twice = Document::parse("a = 1\na = 2\n", "netd.toml");
    cr_assert(!twice.has_value());
    cr_assert(twice.error().text.starts_with("netd.toml:2:"), "%s", twice.error().text.c_str());
    const auto date = Document::parse("\nd = 2020-01-01\n", "netd.toml");
    cr_assert_eq(date.error().text, "netd.toml:2:5: error: no setting is a date or a time");
}

Test(config, lets_its_owner_refuse_a_value) {
    auto document = parse("[tls]\naddress = 'example.org'\n");
    Section tls = document->root().section("tls");
    static_cast<void>(tls.text("address", ""));
    tls.refuse("address", "not an address");
    cr_assert_eq(document->finish().error().text, "netd.toml:2:11: error: not an address");
}

Test(config, a_missing_file_is_an_error) {
    const auto missing = Document::load("/nonexistent/netd.toml");
    cr_assert(!missing.has_value());
    cr_assert_eq(missing.error().text,
                 "cannot open /nonexistent/netd.toml: No such file or directory (there is no directory "
                 "/nonexistent: make it, or name another one)");
}
