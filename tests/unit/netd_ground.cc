// SPDX-License-Identifier: LGPL-2.1-or-later
// netd_ground - listeners that the service manager passes, and those that netd opens.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>

#include "netd/ground.h"

using namespace virtgate;
using namespace virtgate::netd;
using proto::config::LoginMode;

namespace {

UniqueFd listening(int family, int type = SOCK_STREAM) {
    UniqueFd socket{::socket(family, type | SOCK_CLOEXEC, 0)};
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_un local{};
    local.sun_family = AF_UNIX;  // the kernel finds an abstract name
    const auto* address =
        family == AF_INET ? reinterpret_cast<sockaddr*>(&v4) : reinterpret_cast<sockaddr*>(&local);
    const socklen_t size = family == AF_INET ? sizeof v4 : sizeof local.sun_family;
    cr_assert_eq(bind(socket.get(), address, size), 0);
    cr_assert_eq(listen(socket.get(), 1), 0);
    return socket;
}

// What an empty file says, but at a port and in a directory of the test's own.
Settings all_on(const std::string& directory) {
    Settings settings;
    settings.tls = {.login = LoginMode::login_direct, .address = "127.0.0.1", .port = 0};
    settings.tcp = {.login = LoginMode::login_sasl, .address = "127.0.0.1", .port = 0};
    settings.local = {.login = LoginMode::login_direct,
                      .path = directory + "/sock",
                      .read_only_path = directory + "/sock-ro",
                      .mode = 0600,
                      .read_only_mode = 0600,
                      .group = {}};
    return settings;
}

struct Scratch {
    Scratch() { cr_assert(mkdtemp(name) != nullptr); }
    ~Scratch() { std::filesystem::remove_all(name); }
    char name[40] = "/tmp/virtgate-test-ground-XXXXXX";
};

std::vector<spawn::NamedFd> passed(std::string name, UniqueFd socket) {
    std::vector<spawn::NamedFd> all;
    all.push_back({std::move(name), std::move(socket)});
    return all;
}

std::string refusal(const std::string& name, UniqueFd socket, void (*change)(Settings&) = nullptr) {
    const Scratch scratch;
    Settings settings = all_on(scratch.name);
    if (change != nullptr) change(settings);
    const auto ground = open_ground(settings, passed(name, std::move(socket)));
    return ground ? "" : ground.error().text;
}

}  // namespace

Test(ground, without_a_manager_all_that_the_settings_name_is_opened) {
    const Scratch scratch;
    Settings settings = all_on(scratch.name);
    const auto ground = open_ground(settings, {});
    cr_assert(ground.has_value());
    cr_assert(ground->tls.socket && ground->tcp.socket && ground->local && ground->local_read_only);
    cr_assert_neq(ground->tls.port, 0);
    cr_assert_eq(ground->tls.name, fmt::format("127.0.0.1:{}", ground->tls.port));
    cr_assert(std::filesystem::exists(settings.local.path));
}

Test(ground, a_passed_socket_is_used_and_others_are_off) {
    const Scratch scratch;
    Settings settings = all_on(scratch.name);
    UniqueFd socket = listening(AF_INET);
    const int number = socket.get();
    sockaddr_in bound{};
    socklen_t size = sizeof bound;
    getsockname(number, reinterpret_cast<sockaddr*>(&bound), &size);
    const auto ground = open_ground(settings, passed("tls", std::move(socket)));
    cr_assert(ground.has_value());
    cr_assert_eq(ground->tls.socket.get(), number);
    cr_assert_eq(ground->tls.port, ntohs(bound.sin_port));
    cr_assert_neq(fcntl(number, F_GETFL) & O_NONBLOCK, 0);
    cr_assert(!settings.tcp.is_on() && !settings.local.is_on());
    cr_assert(!ground->tcp.socket && !ground->local && !ground->local_read_only);
    cr_assert(!std::filesystem::exists(std::string(scratch.name) + "/sock"));
}

Test(ground, the_name_of_a_passed_unix_socket_is_not_ours) {
    const Scratch scratch;
    Settings settings = all_on(scratch.name);
    auto all = passed("tls", listening(AF_INET));
    all.push_back({"unix", listening(AF_UNIX)});
    const auto ground = open_ground(settings, std::move(all));
    cr_assert(ground.has_value());
    cr_assert(ground->local && ground->local.path().empty());
    cr_assert(settings.local.is_on() && !ground->local_read_only);
}

Test(ground, what_nobody_would_serve_is_refused) {
    cr_assert_eq(refusal("tls", listening(AF_UNIX)),
                 "what the service manager passed as \"tls\" is not a listening socket of its kind");
    cr_assert_eq(refusal("tls", UniqueFd{open("/dev/null", O_RDWR)}),
                 "what the service manager passed as \"tls\" is not a listening socket of its kind");
    UniqueFd silent{socket(AF_INET, SOCK_STREAM, 0)};
    cr_assert_eq(refusal("tls", std::move(silent)),
                 "what the service manager passed as \"tls\" is not a listening socket of its kind");
    cr_assert_eq(refusal("unknown", listening(AF_INET)),
                 "the service manager passed a socket called \"unknown\", which has no meaning here");
    // What has to be proved there, nobody has said.
    cr_assert_eq(refusal("tcp", listening(AF_INET), [](Settings& s) { s.tcp.login = LoginMode::login_off; }),
                 "the service manager passed a socket called \"tcp\", which has no meaning here");
    cr_assert_eq(
        refusal("unix", listening(AF_UNIX), [](Settings& s) { s.local.login = LoginMode::login_off; }),
        "the service manager passed a socket called \"unix\", which has no meaning here");
}

Test(ground, two_sockets_of_one_name_are_refused) {
    const Scratch scratch;
    Settings settings = all_on(scratch.name);
    auto all = passed("tls", listening(AF_INET));
    all.push_back({"tls", listening(AF_INET)});
    const auto ground = open_ground(settings, std::move(all));
    cr_assert(!ground.has_value());
    cr_assert_eq(ground.error().text, "the service manager passed two sockets called \"tls\"");
}
