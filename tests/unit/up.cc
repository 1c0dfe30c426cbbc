// SPDX-License-Identifier: LGPL-2.1-or-later
// up - what "virtgate up" makes of its command line, and the files and addresses that it writes.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "ctl/files.h"
#include "ctl/up/configuration.h"
#include "ctl/up/notify.h"
#include "ctl/up/options.h"
#include "ctl/up/places.h"
#include "ctl/up/uri.h"
#include "libshared/base/suggest.h"

using namespace virtgate;
using namespace virtgate::ctl;
using namespace virtgate::ctl::up;

namespace {

struct Scratch {
    std::string path = "/tmp/test-up.XXXXXX";
    Scratch() { cr_assert_not_null(mkdtemp(path.data())); }
    ~Scratch() { std::filesystem::remove_all(path); }
};

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

Options options_in(const std::string& directory) {
    Options options;
    options.directory = directory;
    options.tls_port = 1234;
    options.upstreams = {{"test:///default", "/run/a"}, {"qemu:///system", "/run/b \"quoted\""}};
    return options;
}

}  // namespace

Test(up, an_upstream_is_a_local_uri_and_a_socket) {
    const Result<Upstream> good = parse_upstream("qemu:///system=/run//libvirt/./libvirt-sock");
    cr_assert(good.has_value());
    cr_assert_eq(good->uri, "qemu:///system");
    cr_assert_eq(good->socket, "/run/libvirt/libvirt-sock");
    cr_assert(parse_upstream("test:///default=relative")->socket.starts_with("/"));
    for (const char* bad :
         {"", "=", "qemu:///system", "qemu:///system=", "qemu+tls:///system=/a", "qemu://host/system=/a",
          "/run/x=/a", ":///x=/a", "qe mu:///x=/a", "qemu:///a b=/c", "qemu:///a\n=/c"})
        cr_assert_not(parse_upstream(bad).has_value(), "%s", bad);
}

Test(up, a_setting_names_file_section_key_and_value) {
    const Result<Setting> one = parse_setting("netd.limits.handshake=2");
    cr_assert(one.has_value());
    cr_assert_eq(one->file, "netd");
    cr_assert_eq(one->section, "limits");
    cr_assert_eq(one->key, "handshake");
    cr_assert_eq(one->value, "2");
    cr_assert_eq(parse_setting("netd.gates=1")->section, "");
    cr_assert_eq(parse_setting("netd.gates=1")->key, "gates");
    cr_assert_eq(parse_setting("netd.tls.address=::1")->value, "\"::1\"");
    cr_assert_eq(parse_setting("netd.tls.priority=\"NORMAL\"")->value, "\"NORMAL\"");
    cr_assert_eq(parse_setting("netd.a.b=-5")->value, "-5");
    cr_assert_eq(parse_setting("netd.a.b=0.5")->value, "0.5");
    for (const char* text : {"127.0.0.1", "1.", ".5", "1.2.3"})
        cr_assert_eq(parse_setting(std::string{"netd.a.b="} + text)->value, quote_toml(text), "%s", text);
    cr_assert_eq(parse_setting("netd.a.b=-")->value, "\"-\"");
    cr_assert_eq(parse_setting("netd.a.b=true")->value, "true");
    cr_assert_eq(parse_setting("workerd.policy.directories=['/a', '/b']")->value, "['/a', '/b']");
    cr_assert_eq(parse_setting("netd.a.b=x=y")->value, "\"x=y\"");
    for (const char* bad : {"", "netd", "netd=1", "other.a=1", "netd.=1", "netd..a=1", "netd.a b=1",
                            "netd.a.=1", "netd.a.b=[\n]"})
        cr_assert_not(parse_setting(bad).has_value(), "%s", bad);
    cr_assert(contains(parse_setting("workrd.a=1").error().text, "did you mean \"workerd\""));
}

Test(up, toml_text_is_quoted) {
    cr_assert_eq(quote_toml("a b"), "\"a b\"");
    cr_assert_eq(quote_toml("a\"b\\c"), R"("a\"b\\c")");
    cr_assert_eq(quote_toml("a\nb\x7f"), R"("a\u000Ab\u007F")");
}

Test(up, the_uri_leads_through_tls_and_is_escaped) {
    cr_assert_eq(tls_uri("test:///default", 40123, "/tmp/x/pki/client"),
                 "test+tls://localhost:40123/default?pkipath=/tmp/x/pki/client");
    cr_assert_eq(tls_uri("qemu:///system?a=b", 1, "/it's & 100%/\xc3\xa4"),
                 "qemu+tls://localhost:1/system?a=b&pkipath=/it%27s%20%26%20100%25/%C3%A4");
}

Test(up, only_untouched_files_are_written_again) {
    const Scratch scratch;
    const Places places{scratch.path};
    Options options = options_in(scratch.path);
    cr_assert(occupy(places).has_value());
    cr_assert(write_configuration(options, places)->kept.empty());
    const std::string first = *read_file(places.netd_toml);
    cr_assert(is_sealed(first));
    cr_assert(contains(first, "port = 1234\n"));

    options.tls_port = 4321;
    cr_assert(write_configuration(options, places)->kept.empty());
    cr_assert(contains(*read_file(places.netd_toml), "port = 4321\n"));

    // Edited: it stays, and an option that would be lost is refused.
    const std::string edited = *read_file(places.netd_toml) + "# mine\n";
    cr_assert_not(is_sealed(edited));
    cr_assert(replace_file(places.netd_toml, edited, 0644).has_value());
    cr_assert_eq(write_configuration(options, places)->kept, std::vector<std::string>{places.netd_toml});
    cr_assert_eq(*read_file(places.netd_toml), edited);
    options.settings = {*parse_setting("netd.limits.handshake=2")};
    const Result<Configuration> refused = write_configuration(options, places);
    cr_assert_not(refused.has_value());
    cr_assert(contains(refused.error().text, places.netd_toml));

    // A file without our head is somebody's own.
    cr_assert(replace_file(places.workerd_toml, "log_level = \"info\"\n", 0644).has_value());
    options.settings.clear();
    cr_assert_eq(write_configuration(options, places)->kept.size(), 2u);
    cr_assert_eq(*read_file(places.workerd_toml), "log_level = \"info\"\n");
}

Test(up, settings_replace_and_add_keys) {
    const Places places{"/d"};
    Options options = options_in("/d");
    options.settings = {*parse_setting("netd.tls.port=9"), *parse_setting("netd.limits.handshake=2"),
                        *parse_setting("netd.gates=1"), *parse_setting("workerd.x.y=z")};
    const std::string netd = netd_text(options, places);
    cr_assert(contains(netd, "\n[tls]\n"));
    cr_assert(contains(netd, "port = 9\n"));
    cr_assert_not(contains(netd, "1234"));
    cr_assert(contains(netd, "\n[limits]\nhandshake = 2\n"));
    cr_assert_lt(netd.find("gates = 1\n"), netd.find('['));  // top-level keys come before all sections
    cr_assert_not(contains(netd, "[x]"));
    const std::string workerd = workerd_text(options, places);
    cr_assert(contains(workerd, "\n[x]\ny = \"z\"\n"));
    cr_assert(contains(workerd, "uri = \"qemu:///system\"\nsocket = \"/run/b \\\"quoted\\\"\"\n"));
}

Test(up, the_policy_belongs_to_the_user) {
    const Scratch scratch;
    const Places places{scratch.path};
    const Options options = options_in(scratch.path);
    cr_assert(occupy(places).has_value());
    cr_assert(write_configuration(options, places).has_value());
    cr_assert_eq(*read_file(places.policy_file), policy_text());
    cr_assert(replace_file(places.policy_file, "version = 1\n", 0644).has_value());
    cr_assert(write_configuration(options, places).has_value());
    cr_assert_eq(*read_file(places.policy_file), "version = 1\n");
}

Test(up, a_directory_is_for_one_at_a_time) {
    const Scratch scratch;
    const Places places{scratch.path + "/new"};
    {
        cr_assert_eq(mkdir(places.directory.c_str(), 0755), 0);
        cr_assert(replace_file(places.ready, "tls_port=1\n", 0644).has_value());
        const Result<UniqueFd> first = occupy(places);
        cr_assert(first.has_value());
        cr_assert_neq(access(places.ready.c_str(), F_OK), 0);  // it was left behind by somebody who is gone
        const Result<UniqueFd> second = occupy(places);
        cr_assert_not(second.has_value());
        cr_assert(contains(second.error().text, "another"));
    }
    cr_assert(occupy(places).has_value());
    const Result<UniqueFd> deep = occupy(Places{"/tmp/" + std::string(90, 'x')});
    cr_assert_not(deep.has_value());
    cr_assert(contains(deep.error().text, "9 bytes too long"));
    cr_assert_neq(access(("/tmp/" + std::string(90, 'x')).c_str(), F_OK), 0);
}

Test(up, a_notice_says_ready_and_port) {
    const Notice both = parse_notice("STATUS=serving\nX_VIRTGATE_TLS_PORT=40123\nREADY=1");
    cr_assert(both.ready);
    cr_assert_eq(both.tls_port.value_or(0), 40123);
    cr_assert_eq(both.status, "serving");
    for (const char* none : {"", "\n\n", "READY=0", "READY=11", "ready=1", "X=READY=1"})
        cr_assert_not(parse_notice(none).ready, "%s", none);
    for (const char* none : {"X_VIRTGATE_TLS_PORT=", "X_VIRTGATE_TLS_PORT=0", "X_VIRTGATE_TLS_PORT=65536",
                             "X_VIRTGATE_TLS_PORT=1x", "X_VIRTGATE_TLS_PORT=-1"})
        cr_assert_not(parse_notice(none).tls_port.has_value(), "%s", none);
}

Test(up, notices_carry_the_senders_pid) {
    const Scratch scratch;
    const std::string path = scratch.path + "/notify";
    {
        Result<NotifySocket> made = NotifySocket::make(path);
        cr_assert(made.has_value());
        cr_assert_not(made->receive().has_value());
        const UniqueFd fd{socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strcpy(address.sun_path, path.c_str());
        const auto* where = static_cast<const sockaddr*>(static_cast<const void*>(&address));
        const std::string too_long(5000, 'x');
        cr_assert_gt(sendto(fd.get(), too_long.data(), too_long.size(), 0, where, sizeof address), 0);
        cr_assert_gt(sendto(fd.get(), "READY=1", 7, 0, where, sizeof address), 0);
        const std::optional<Notice> notice = made->receive();  // the long one is dropped
        cr_assert(notice.has_value());
        cr_assert(notice->ready);
        cr_assert_eq(notice->pid, getpid());
        cr_assert_not(made->receive().has_value());
    }
    cr_assert_neq(access(path.c_str(), F_OK), 0);
}

Test(up, suggestions_are_near_or_none) {
    const std::vector<std::string> known{"up", "help", "policy"};
    cr_assert_eq(suggest("pu", known), "up");
    cr_assert_eq(suggest("hlep", known), "help");
    cr_assert_eq(suggest("pol", known), "policy");
    cr_assert_eq(suggest("polciy", known), "policy");
    for (const char* far : {"", "x", "frobnicate", "helicopter"})
        cr_assert_eq(suggest(far, known), "", "%s", far);
    cr_assert_eq(suggest(std::string(100'000, 'u'), known), "");
    cr_assert_eq(did_you_mean("pu", known), " (did you mean \"up\"?)");
}
