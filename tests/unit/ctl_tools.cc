// SPDX-License-Identifier: LGPL-2.1-or-later
// ctl_tools - tests of what the commands for servers know by themselves: libvirt.conf, sizes, tables.
#include <criterion/criterion.h>
#include <fmt/format.h>

#include "ctl/tools/console.h"
#include "ctl/tools/event_words.h"
#include "ctl/tools/outcome.h"
#include "ctl/tools/progress.h"
#include "ctl/tools/table.h"
#include "ctl/tools/target.h"
#include "ctl/tools/transfer.h"

using namespace virtgate;
using namespace virtgate::ctl::tools;

namespace {

void expect_same(const std::string& one, const std::string& other) {
    cr_assert(one == other, "%s", one.c_str());
}

}  // namespace

Test(ctl_tools, libvirt_conf_has_a_default_and_aliases) {
    const auto conf = ClientConf::parse(
        "# the servers\n"
        "uri_aliases = [\n  \"hail=qemu+ssh://root@hail/system?a=b\", # the first\n  "
        "'sleet=test:///default',\n]\n"
        "\n"
        "uri_default = \"qemu:///system\"\n"
        "other = 5\nlist = [ \"x\" ]\n");
    cr_assert(conf.has_value(), "%s", conf ? "" : conf.error().text.c_str());
    expect_same(conf->uri_default, "qemu:///system");
    cr_assert_eq(conf->aliases.size(), 2);
    expect_same(conf->aliases[0].first, "hail");
    expect_same(conf->aliases[0].second, "qemu+ssh://root@hail/system?a=b");
    expect_same(conf->aliases[1].second, "test:///default");
    cr_assert(ClientConf::parse("")->uri_default.empty());
    for (const char* wrong :
         {"uri_default", "uri_default =", "uri_default = x", "= \"x\"", "uri_aliases = [ \"x\" ]",
          "uri_aliases = [ \"a=b\"", "\n\n\"x\" = 1", "uri_default = \"a\nb\""})
        cr_assert(!ClientConf::parse(wrong), "%s", wrong);
    cr_assert(ClientConf::parse("\n\nuri_default x").error().text.find("line 3") != std::string::npos);
}

Test(ctl_tools, a_target_is_found_where_it_is_expected) {
    client::Environment environment;
    environment.config_directory = "/nonexistent";
    environment.is_root = false;
    unsetenv("VIRTGATE_URI");
    unsetenv("LIBVIRT_DEFAULT_URI");
    const auto nowhere = find_uri({}, environment);
    cr_assert(nowhere.has_value());
    expect_same(nowhere->open_name(), "");
    cr_assert(nowhere->how() == client::Transport::unix_socket && nowhere->path == "/session");
    setenv("LIBVIRT_DEFAULT_URI", "test:///default", 1);
    expect_same(find_uri({}, environment)->driver, "test");
    setenv("VIRTGATE_URI", "qemu+tls://host/system", 1);
    expect_same(find_uri({}, environment)->host, "host");
    expect_same(find_uri({.uri = "lxc:///system"}, environment)->driver, "lxc");
    cr_assert(!find_uri({.uri = "no uri"}, environment));
}

Test(ctl_tools, sizes_and_keys_are_read) {
    std::uint64_t bytes = 0;
    cr_assert(parse_size("0", bytes) && bytes == 0);
    cr_assert(parse_size("512", bytes) && bytes == 512);
    cr_assert(parse_size("3k", bytes) && bytes == 3072);
    cr_assert(parse_size("10M", bytes) && bytes == 10485760);
    cr_assert(parse_size("16777215T", bytes) && bytes == 16777215ULL << 40);
    for (const char* wrong : {"", "K", "-1", "1.5G", "5x", "5KB", "16777216T", "18446744073709551616"})
        cr_assert(!parse_size(wrong, bytes), "%s", wrong);
    cr_assert_eq(parse_escape("^]").value_or(-1), 0x1d);
    cr_assert_eq(parse_escape("^a").value_or(-1), 1);
    cr_assert_eq(parse_escape("~").value_or(-1), '~');
    cr_assert_eq(parse_escape("none").value_or(-1), 256);
    for (const char* wrong : {"", "^9", "ab", "^]]"}) cr_assert(!parse_escape(wrong), "%s", wrong);
}

Test(ctl_tools, numbers_are_shown_for_people) {
    expect_same(show_size(1023), "1023 B");
    expect_same(show_size(1536), "1.5 KiB");
    expect_same(show_size(1048575), "1.0 MiB");
    expect_same(show_size(UINT64_MAX), "16.0 EiB");
    expect_same(show_time(7), "0:07");
    expect_same(show_time(3723), "1:02:03");
    expect_same(show("web"), "web");
    expect_same(show("two\nlines"), "\"two\\x0alines\"");
    expect_same(show(""), "\"\"");
    expect_same(align({{{"A"}, {"B"}}, {{"long", Colour::green}, {"x"}}}, true),
                "A     B\n\x1b[32mlong\x1b[0m  x\n");
    expect_same(align({{{"A"}, {"B"}}, {{"long", Colour::green}, {"x"}}}, false), "A     B\nlong  x\n");
}

Test(ctl_tools, progress_fits_its_line) {
    constexpr std::uint64_t k_total = std::uint64_t{1} << 30;
    const std::string line = draw_progress("default/disk", k_total / 4, k_total, 1048576.0 * 64, 100);
    cr_assert(line.find("] ") != std::string::npos &&
                  line.find(" 25%  256.0 MiB of 1.0 GiB  64.0 MiB/s  0:12 left") != std::string::npos,
              "%s", line.c_str());
    cr_assert(line.size() <= 100);
    cr_assert(draw_progress("default/disk", 1, k_total, 0, 40).find('[') == std::string::npos);
    expect_same(draw_progress("x", 2048, 0, 1024, 80), "x  2.0 KiB  1.0 KiB/s");
    cr_assert(draw_progress("x", 2 * k_total, k_total, 1, 80).find("100%") != std::string::npos);
}

Test(ctl_tools, failures_have_their_status) {
    using client::Cause;
    const auto status = [](Cause cause) { return exit_status({.cause = cause, .text = "x"}); };
    cr_assert_eq(status(Cause::remote), 1);
    cr_assert_eq(status(Cause::invalid), 64);
    cr_assert_eq(status(Cause::closed), 69);
    cr_assert_eq(status(Cause::timeout), 69);
    cr_assert_eq(status(Cause::system), 71);
    cr_assert_eq(status(Cause::protocol), 76);
    cr_assert_eq(status(Cause::untrusted), 77);
    cr_assert_eq(status(Cause::cancelled), 130);
    client::Failure failure{.cause = Cause::remote, .text = "Domain not found"};
    failure.remote.code = 42;
    failure.remote.domain = 10;
    expect_same(describe(failure), "Domain not found (code 42, domain 10)");
}

Test(ctl_tools, lifecycles_have_words) {
    expect_same(event_word("domain", 2), "started");
    expect_same(detail_word("domain", 2, 0), "booted");
    expect_same(detail_word("domain", 5, 1), "destroyed");
    expect_same(event_word("domain", 99), "99");
    expect_same(detail_word("domain", -1, 0), "");
    expect_same(event_word("storage_pool", 4), "created");
    expect_same(detail_word("network", 2, 0), "");
}
