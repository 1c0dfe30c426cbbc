// SPDX-License-Identifier: LGPL-2.1-or-later
// client_uri - tests of URIs, of where clients look for files, and of auth.conf.
#include <criterion/criterion.h>

#include <set>

#include "libshared/client/auth_file.h"
#include "libshared/client/environment.h"
#include "libshared/client/uri.h"
#include "libshared/rpc/error.h"

using namespace virtgate;
using namespace virtgate::client;

namespace {

Uri parse(std::string_view text) {
    auto uri = Uri::parse(text);
    cr_assert(uri.has_value(), "%s", uri ? "" : uri.error().text.c_str());
    const auto again = Uri::parse(uri->print());
    cr_assert(again && *again == *uri, "%s", uri->print().c_str());
    return *uri;
}

void refuses(std::string_view text, std::string_view reason) {
    const auto uri = Uri::parse(text);
    cr_assert(!uri, "%s", std::string(text).c_str());
    cr_assert_eq(uri.error().cause, Cause::invalid);
    cr_assert_neq(uri.error().text.find(reason), std::string::npos, "%s", uri.error().text.c_str());
}

Environment user(std::set<std::string> files, bool root = false) {
    return {.is_root = root,
            .home = "/home/u",
            .config_directory = "/home/u/.config/libvirt",
            .run_directory = "/run/user/5/libvirt",
            .auth_file = {},
            .exists = [files = std::move(files)](const std::string& path) { return files.contains(path); }};
}

}  // namespace

Test(client_uri, transport_and_port_have_libvirts_defaults) {
    cr_assert_eq(parse("qemu:///system").how(), Transport::unix_socket);
    const Uri tls = parse("qemu://node.example/system");
    cr_assert_eq(tls.how(), Transport::tls);
    cr_assert_eq(tls.effective_port(), 16514);
    const Uri tcp = parse("qemu+TCP:///system");
    cr_assert_eq(tcp.effective_port(), 16509);
    cr_assert_eq(tcp.effective_host(), "localhost");
    cr_assert_eq(parse("qemu+ssh://h/system").effective_port(), 0);
    cr_assert_eq(parse("qemu+tls://h:7/system").effective_port(), 7);
}

Test(client_uri, each_part_is_read) {
    const Uri uri = parse(
        "xen+ssh://me%40home@[fe80::1]:222/a%20b?socket=/s&command=/bin/ssh&netcat=/bin/nc&proxy=netcat"
        "&mode=legacy&keyfile=/k&no_verify=1&no_tty=2&auth=polkit&authfile=/a&other=x%26y&Another");
    cr_assert_eq(uri.driver, "xen");
    cr_assert_eq(uri.user, "me@home");
    cr_assert_eq(uri.host, "fe80::1");
    cr_assert_eq(uri.port, 222);
    cr_assert_eq(uri.path, "/a b");
    cr_assert_eq(uri.socket, "/s");
    cr_assert_eq(uri.command, "/bin/ssh");
    cr_assert_eq(uri.netcat, "/bin/nc");
    cr_assert(uri.proxy == Proxy::netcat);
    cr_assert(uri.mode == Mode::legacy);
    cr_assert_eq(uri.keyfile, "/k");
    cr_assert(uri.no_verify);
    cr_assert(uri.no_tty);
    cr_assert(!uri.no_sanity);
    cr_assert_eq(uri.auth, "polkit");
    cr_assert_eq(uri.authfile, "/a");
    cr_assert_eq(uri.rest.size(), 2);
    cr_assert_eq(uri.rest[0].value, "x&y");
    cr_assert_eq(uri.open_name(), "xen:///a%20b?other=x%26y&Another=");
}

Test(client_uri, parameters_have_any_case_and_both_separators) {
    const Uri uri = parse("qemu+tls://h/system?PkiPath=/p;NO_SANITY=1&tls_priority=NORMAL:-VERS-ALL");
    cr_assert_eq(uri.pkipath, "/p");
    cr_assert(uri.no_sanity);
    cr_assert_eq(uri.tls_priority, "NORMAL:-VERS-ALL");
    const Uri ext = parse("qemu+ext:///system?command=/c&argv=one&argv=two%20three");
    cr_assert_eq(ext.argv.size(), 2);
    cr_assert_eq(ext.argv[1], "two three");
    const Uri ssh =
        parse("qemu+libssh2://h/system?known_hosts=/f&known_hosts_verify=auto&sshauth=agent,password");
    cr_assert_eq(ssh.sshauth, "agent,password");
}

Test(client_uri, the_name_for_the_server_has_nothing_of_the_way) {
    cr_assert_eq(parse("test+tls://u@h:1/default?pkipath=/p").open_name(), "test:///default");
    cr_assert_eq(parse("qemu+unix:///system?socket=/s").open_name(), "qemu:///system");
    cr_assert_eq(parse("remote://h/").open_name(), "");
    cr_assert_eq(parse("remote://h/?name=qemu:///system").open_name(), "qemu:///system");
    cr_assert_eq(parse("qemu://h/system?name=").open_name(), "");
}

Test(client_uri, what_is_wrong_is_said) {
    refuses("", "no driver");
    refuses("/system", "no driver");
    refuses("qemu+tsl://h/", "did you mean \"tls\"");
    refuses("+tls://h/", "name of a driver");
    refuses("qemu+unix://h/system", "no host");
    refuses("qemu://h:0/", "port");
    refuses("qemu://h:65536/", "port");
    refuses("qemu://h:1x/", "port");
    refuses("qemu://::1/", "brackets");
    refuses("qemu://[::1/", "bracket");
    refuses("qemu://[::1]1/", "colon");
    refuses("qemu://-oProxyCommand=x/", "not a host");
    refuses("qemu://%2doProxyCommand=x/", "not a host");
    refuses("qemu://@h/", "before the @");
    refuses("qemu://h/a%2", "hexadecimal");
    refuses("qemu://h/a%00b", "control character");
    refuses("qemu:system", "begins with /");
    refuses("qemu:///system#x", "fragment");
    refuses("qemu+ext:///system", "command=");
    refuses("qemu+ssh://h/?netcat=/n&proxy=native", "exclude");
    refuses("qemu+ssh://h/?proxy=socat", "socat");
    refuses("qemu:///system?mode=fast", "fast");
    refuses("qemu://h/?no_verify=yes", "number");
    refuses("qemu://h/?pkipath=/a&PKIPATH=/b", "twice");
    refuses("qemu://h/?auth=kerberos", "kerberos");
    refuses("qemu://h/?=x", "without a name");
    std::string longest = "qemu:///";
    longest.append(k_uri_max, 'x');
    refuses(longest, "too long");
}

Test(client_uri, a_socket_is_found_by_mode_and_by_what_is_there) {
    const auto find = [](std::string_view uri, bool read_only, const Environment& where) {
        return find_socket(parse(uri), read_only, where).value_or("?");
    };
    const Environment none = user({}), split = user({"/var/run/libvirt/virtqemud-sock"});
    cr_assert_eq(find("qemu:///system", false, none), "/var/run/libvirt/libvirt-sock");
    cr_assert_eq(find("qemu:///system", true, none), "/var/run/libvirt/libvirt-sock-ro");
    cr_assert_eq(find("qemu:///system", false, split), "/var/run/libvirt/virtqemud-sock");
    cr_assert_eq(find("qemu:///system?mode=legacy", false, split), "/var/run/libvirt/libvirt-sock");
    cr_assert_eq(find("qemu:///system?mode=direct", true, none), "/var/run/libvirt/virtqemud-sock-ro");
    cr_assert_eq(find("test:///default?mode=direct", false, none), "?");
    cr_assert_eq(find("qemu:///session", true, none), "/run/user/5/libvirt/libvirt-sock");
    cr_assert_eq(find("test+unix:///default", false, none), "/run/user/5/libvirt/libvirt-sock");
    cr_assert_eq(find("qemu:///session", false, user({}, true)), "/var/run/libvirt/libvirt-sock");
    cr_assert_eq(find("qemu+unix:///system?socket=/mine", true, none), "/mine");
}

Test(client_uri, certificates_are_found_as_libvirt_does) {
    const std::set<std::string> machine{"/etc/pki/CA/cacert.pem", "/etc/pki/CA/cacrl.pem",
                                        "/etc/pki/libvirt/clientcert.pem",
                                        "/etc/pki/libvirt/private/clientkey.pem"};
    const PkiPaths system{"/etc/pki/CA/cacert.pem", "/etc/pki/CA/cacrl.pem",
                          "/etc/pki/libvirt/clientcert.pem", "/etc/pki/libvirt/private/clientkey.pem"};
    cr_assert(*find_pki("", user(machine)) == system);
    auto mixed = machine;
    mixed.insert("/home/u/.pki/libvirt/cacert.pem");
    cr_assert_eq(find_pki("", user(mixed))->authorities, "/home/u/.pki/libvirt/cacert.pem");
    cr_assert_eq(find_pki("", user(mixed))->revoked, "/etc/pki/CA/cacrl.pem");
    cr_assert_eq(find_pki("", user(mixed, true))->authorities, "/etc/pki/CA/cacert.pem");
    mixed.insert("/home/u/.pki/libvirt/clientcert.pem");
    cr_assert(!find_pki("", user(mixed)), "half a pair");
    mixed.insert("/home/u/.pki/libvirt/clientkey.pem");
    cr_assert_eq(find_pki("", user(mixed))->key, "/home/u/.pki/libvirt/clientkey.pem");
    // pkipath has no other place to fall back to, and needs no certificate of our own.
    cr_assert(!find_pki("/p", user(machine)));
    cr_assert(*find_pki("/p", user({"/p/cacert.pem"})) == (PkiPaths{"/p/cacert.pem", "", "", ""}));
}

Test(client_uri, auth_conf_gives_each_host_its_own) {
    const auto file = AuthFile::parse(
        "# comment\n[credentials-a]\n authname = alice "
        "\npassword=p\\sq\\\\r\n\n[credentials-b]\r\nauthname=bob\r\n"
        "[auth-libvirt-one]\ncredentials=a\n[auth-libvirt-default]\ncredentials=b\n[auth-libvirt-bad]"
        "\ncredentials=none\n"
        "[auth-libvirt-empty]\n");
    cr_assert(file.has_value());
    const auto one = file->find("libvirt", "one");
    cr_assert(one && *one != nullptr);
    cr_assert_eq((*one)->at("authname"), "alice");
    cr_assert_eq((*one)->at("password"), "p q\\r");
    cr_assert_eq((*file->find("libvirt", "other"))->at("authname"), "bob");
    cr_assert(*file->find("vnc", "one") == nullptr);
    cr_assert(!file->find("libvirt", "bad"));
    cr_assert(!file->find("libvirt", "empty"));
}

Test(client_uri, auth_conf_says_which_line_is_wrong) {
    const auto wrong = [](std::string_view text) {
        const auto file = AuthFile::parse(text);
        cr_assert(!file);
        return file.error().text.substr(0, file.error().text.find(':'));
    };
    cr_assert_eq(wrong("a=b\n"), "line 1");
    cr_assert_eq(wrong("[a]\nb\n"), "line 2");
    cr_assert_eq(wrong("[a]\n\n=b\n"), "line 3");
    cr_assert_eq(wrong("[]\n"), "line 1");
    cr_assert_eq(wrong("[a\n"), "line 1");
    cr_assert_eq(wrong("[a]\nb=\\q\n"), "line 2");
    cr_assert_eq(wrong("[a]\nb=\\"), "line 2");
    cr_assert_eq(AuthFile::load("/nonexistent/auth.conf").error().cause, Cause::system);
}

Test(client_uri, auth_conf_is_looked_for_in_order) {
    Environment where = user({"/home/u/.config/libvirt/auth.conf", "/etc/libvirt/auth.conf", "/env"});
    cr_assert_eq(find_auth_file("/given", where), "/given");
    cr_assert_eq(find_auth_file("", where), "/home/u/.config/libvirt/auth.conf");
    where.auth_file = "/env";
    cr_assert_eq(find_auth_file("", where), "/env");
    cr_assert_eq(find_auth_file("", user({"/etc/libvirt/auth.conf"})), "/etc/libvirt/auth.conf");
    cr_assert_eq(find_auth_file("", user({})), "");
}

Test(client_uri, a_servers_error_is_read_whole) {
    const rpc::Failure sent{
        .code = 42, .domain = 10, .message = "Domain not found\n", .pattern = "%s", .detail = "x", .int1 = 5};
    const Failure failure = read_remote_error(rpc::make_error_payload(sent));
    cr_assert(failure.is(42));
    cr_assert_eq(failure.remote.domain, 10);
    cr_assert_eq(failure.remote.level, 2);
    cr_assert_eq(failure.remote.str2, "x");
    cr_assert_eq(failure.remote.int1, 5);
    cr_assert_eq(failure.text, "Domain not found\\x0a");
    cr_assert(read_remote_error(rpc::make_error_payload(39, "unknown procedure: 7")).is(3),
              "libvirt's own mapping");
    ByteVector cut = rpc::make_error_payload(sent);
    cut.resize(cut.size() - 4);
    cr_assert_eq(read_remote_error(cut).cause, Cause::protocol);
}
