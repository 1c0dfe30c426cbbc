// SPDX-License-Identifier: LGPL-2.1-or-later
// netd - its settings, its listener, and a supervisor whose children are shell scripts.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "libshared/base/process.h"
#include "netd/supervisor.h"
#include "proto/supervise.h"

using namespace virtgate;
using namespace virtgate::netd;

namespace {

// A directory of the test's own, removed at its end.
struct Scratch {
    Scratch() {
        char name[] = "/tmp/virtgate-test-netd-XXXXXX";
        cr_assert(mkdtemp(name) != nullptr);
        path = name;
    }
    ~Scratch() { std::filesystem::remove_all(path); }
    std::string write(const std::string& name, const std::string& text, mode_t mode = 0600) const {
        const std::string file = path + "/" + name;
        std::ofstream(file) << text;
        chmod(file.c_str(), mode);
        return file;
    }
    std::string path;
};

constexpr const char* k_pem = "-----BEGIN CERTIFICATE-----\n";

std::string complaints(const Scratch& scratch, const std::string& text) {
    const auto settings = read_settings(scratch.write("netd.toml", text));
    if (settings) return "";
    std::string all = settings.error().text;
    for (std::size_t at; (at = all.find(scratch.path + "/")) != all.npos;)
        all.erase(at, scratch.path.size() + 1);
    return all;
}

}  // namespace

Test(settings, have_defaults) {
    const Scratch scratch;
    const auto settings = read_settings(scratch.write("netd.toml", ""));
    cr_assert(settings.has_value(), "%s", settings ? "" : settings.error().text.c_str());
    cr_assert_eq(settings->tls.address, "::");
    cr_assert_eq(settings->tls.port, 16514);
    cr_assert_geq(settings->gates, 1);
    cr_assert_eq(settings->certificate_file, "/etc/pki/libvirt/servercert.pem");
    cr_assert_eq(settings->key_file, "/etc/pki/libvirt/private/serverkey.pem");
    cr_assert_eq(settings->ca_file, "/etc/pki/CA/cacert.pem");
    cr_assert_eq(settings->limits.handshake, 10000);
    cr_assert_eq(settings->limits.authentication, 20000);
    cr_assert_eq(settings->limits.partial_frame, 30000);
    cr_assert_eq(settings->keepalive.interval, 5000);
    cr_assert_eq(settings->keepalive.count, 5);
    cr_assert(settings->user_switch);
    cr_assert(!settings->announce && settings->announced_name.empty());
}

Test(settings, are_read) {
    const Scratch scratch;
    const auto settings =
        read_settings(scratch.write("netd.toml",
                                    "log_level = 'warning'\ngates = 3\nuser_switch = false\n"
                                    "[tls]\naddress = '192.0.2.1'\nport = 0\ncertificate = '/c'\nkey = "
                                    "'/k'\nca = '/a'\ncrl = '/r'\npriority = 'P'\n"
                                    "[limits]\nhandshake = 0.5\nauthentication = 2\npartial_frame = "
                                    "3\ncalls_in_flight = 7\nconnections = 8\n"
                                    "[keepalive]\ninterval = 0\ncount = 9\n[broker]\nsocket = '/b'\n"));
    cr_assert(settings.has_value(), "%s", settings ? "" : settings.error().text.c_str());
    cr_assert_eq(settings->log.level, Level::warning);
    cr_assert_eq(settings->gates, 3);
    cr_assert(!settings->user_switch);
    cr_assert_eq(settings->tls.address, "192.0.2.1");
    cr_assert_eq(settings->tls.port, 0);
    cr_assert_eq(settings->certificate_file + settings->key_file + settings->ca_file + settings->crl_file,
                 "/c/k/a/r");
    cr_assert_eq(settings->priority, "P");
    cr_assert_eq(settings->limits.handshake, 500);
    cr_assert_eq(settings->limits.calls_in_flight, 7);
    cr_assert_eq(settings->limits.connections, 8);
    cr_assert_eq(settings->keepalive.interval, 0);
    cr_assert_eq(settings->keepalive.count, 9);
    cr_assert_eq(settings->broker_socket, "/b");
    const std::string longest(63, 'x');
    const auto announced =
        read_settings(scratch.write("netd.toml", "[announce]\nenabled = true\nname = '" + longest + "'\n"));
    cr_assert(announced->announce && announced->announced_name == longest);
    cr_assert(complaints(scratch, "[announce]\nname = '" + longest + "x'\n") ==
              "netd.toml:2:8: error: \"name\" has to have at most 63 bytes");
}

Test(settings, that_are_wrong_are_reported_at_their_place) {
    const Scratch scratch;
    cr_assert_eq(
        complaints(
            scratch,
            "log_level = 'loud'\ngates = 65\n[tls]\naddress = 'example.org'\nkey = 'key.pem'\nprot = 1\n"),
        "netd.toml:1:13: error: \"log_level\" has to be \"debug\", \"info\", \"warning\" or \"error\"\n"
        "netd.toml:2:9: error: \"gates\" has to be between 0 and 64\n"
        "netd.toml:4:11: error: \"address\" has to be a numeric IPv4 or IPv6 address, or \"localhost\"\n"
        "netd.toml:5:7: error: \"key\" has to be an absolute path\n"
        "netd.toml:6:1: error: unknown key \"prot\" in [tls] (did you mean \"port\"?)");
}

Test(settings, a_key_that_others_can_read_is_refused) {
    const Scratch scratch;
    Settings settings;
    for (const mode_t mode : {0400U, 0600U, 0700U}) {
        settings.key_file = scratch.write("key", "secret", mode);
        cr_assert(open_key(settings).has_value(), "%o", mode);
        unlink(settings.key_file.c_str());
    }
    for (const mode_t mode : {0640U, 0604U, 0660U, 0644U, 0620U}) {
        settings.key_file = scratch.write("key", "secret", mode);
        const auto key = open_key(settings);
        cr_assert(!key.has_value() &&
                      key.error().text.find("open to its group or to everybody") != std::string::npos,
                  "%o", mode);
    }
    settings.key_file = scratch.path;
    cr_assert(!open_key(settings).has_value(), "a directory");
    settings.key_file = scratch.path + "/none";
    cr_assert_eq(open_key(settings).error().number, ENOENT);
}

Test(settings, each_opened_key_has_its_own_offset) {
    const Scratch scratch;
    Settings settings;
    settings.key_file = scratch.write("key", "secret");
    const auto one = open_key(settings), two = open_key(settings);
    char byte;
    cr_assert_eq(read(one->get(), &byte, 1), 1);
    cr_assert_eq(lseek(two->get(), 0, SEEK_CUR), 0);
}

Test(settings, certificate_files_have_to_look_like_it) {
    const Scratch scratch;
    Settings settings;
    settings.certificate_file = scratch.write("cert", k_pem);
    settings.ca_file = scratch.write("ca", k_pem);
    cr_assert(read_pki(settings).has_value());
    settings.crl_file = settings.ca_file;
    cr_assert_eq(read_pki(settings).error().text,
                 "the certificate revocation list " + settings.crl_file + " is not a PEM file of that kind");
    settings.crl_file = scratch.write("crl", "-----BEGIN X509 CRL-----\n");
    cr_assert(read_pki(settings).has_value());
    settings.ca_file = scratch.path + "/none";
    cr_assert_eq(read_pki(settings).error().number, ENOENT);
}

namespace {

bool connects(int family, const char* address, std::uint16_t port) {
    const UniqueFd socket{::socket(family, SOCK_STREAM, 0)};
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    v4.sin_family = AF_INET;
    v6.sin6_family = AF_INET6;
    v4.sin_port = v6.sin6_port = htons(port);
    inet_pton(AF_INET, address, &v4.sin_addr);
    inet_pton(AF_INET6, address, &v6.sin6_addr);
    const bool is_v4 = family == AF_INET;
    return connect(socket.get(), is_v4 ? reinterpret_cast<sockaddr*>(&v4) : reinterpret_cast<sockaddr*>(&v6),
                   is_v4 ? sizeof v4 : sizeof v6) == 0;
}

}  // namespace

Test(listener, serves_both_families) {
    for (const char* address : {"::", "localhost"}) {
        const auto listener = open_listener(address, 0);
        cr_assert(listener.has_value(), "%s", listener ? "" : listener.error().text.c_str());
        cr_assert_neq(listener->port, 0);
        cr_assert(connects(AF_INET, "127.0.0.1", listener->port), "%s over IPv4", address);
        cr_assert(connects(AF_INET6, "::1", listener->port), "%s over IPv6", address);
        cr_assert_eq(fcntl(listener->socket.get(), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
        cr_assert_eq(fcntl(listener->socket.get(), F_GETFD), FD_CLOEXEC);
    }
    const auto only_v4 = open_listener("127.0.0.1", 0);
    cr_assert(connects(AF_INET, "127.0.0.1", only_v4->port));
    cr_assert(!connects(AF_INET6, "::1", only_v4->port));
    cr_assert_eq(only_v4->name, fmt::format("127.0.0.1:{}", only_v4->port));
    const auto again = open_listener("127.0.0.1", only_v4->port);
    cr_assert_eq(again.error().number, EADDRINUSE);
    const std::string who =
        fmt::format("127.0.0.1 port {}, which is taken by {}", only_v4->port, name_process(getpid()));
    cr_assert(again.error().text.find(who) != std::string::npos, "%s", again.error().text.c_str());
}

Test(listener, addresses_are_numeric) {
    for (const char* good : {"::", "0.0.0.0", "127.0.0.1", "::1", "2001:db8::7", "localhost"})
        cr_assert(is_listen_address(good), "%s", good);
    for (const char* bad : {"", "example.org", "*", "1.2.3", "[::]", "::%lo"})
        cr_assert(!is_listen_address(bad), "%s", bad);
}

namespace {

// The frame READY of proto/supervise.x, for printf.
constexpr const char* k_ready =
    "printf '\\0\\0\\0\\034\\126\\107\\0\\1\\0\\0\\0\\1\\0\\0\\0\\3\\0\\0\\0\\2\\0\\0\\0\\0\\0\\0\\0\\0' "
    ">&4\n";
// Reads packets until that procedure comes. The channel does not block, so it looks again and again.
std::string await_word(proto::supervise::Procedure procedure) {
    return fmt::format(
        "while :; do p=$(dd bs=65536 count=1 <&4 2>/dev/null | od -An -tx1 -v | tr -d ' \\n')\n"
        "  case $p in ????????????????????????{:08x}*) break;; '') sleep 0.05;; esac\ndone\n",
        static_cast<std::uint32_t>(procedure));
}

// A supervisor in a process of its own, and the socket that it notifies.
class Play {
public:
    // Without an announcer nothing is announced.
    explicit Play(const std::string& gate, const std::string& keeper, const std::string& doorman,
                  const std::string& announcer = "") {
        scratch_.write("virtgate-gate", "#!/bin/sh\n" + gate, 0700);
        scratch_.write("virtgate-keeper", "#!/bin/sh\n" + keeper, 0700);
        scratch_.write("virtgate-doorman", "#!/bin/sh\n" + doorman, 0700);
        if (!announcer.empty()) scratch_.write("virtgate-announcer", "#!/bin/sh\n" + announcer, 0700);
        key_ = scratch_.write("key", "secret");
        config_ = scratch_.write("netd.toml",
                                 fmt::format("gates = 2\nuser_switch = false\n[unix]\nenabled = "
                                             "false\n[tls]\naddress = 'localhost'\nport = 0\n"
                                             "certificate = '{0}/pem'\nca = '{0}/pem'\nkey = '{0}/key'\n"
                                             "[admin]\nenabled = false\n[announce]\nenabled = {1}\n",
                                             scratch_.path, !announcer.empty()));
        scratch_.write("pem", k_pem);
        const std::string name = scratch_.path + "/notify";
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::copy(name.begin(), name.end(), address.sun_path);
        notified_ = UniqueFd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
        cr_assert_eq(bind(notified_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        setenv("NOTIFY_SOCKET", name.c_str(), 1);
        pid_ = fork();
        if (pid_ == 0) _exit(play());
    }
    ~Play() {
        if (pid_ > 0) {
            kill(pid_, SIGKILL);
            waitpid(pid_, nullptr, 0);
        }
    }

    // The next notification; empty after `ms` without one.
    std::string notification(int ms = 10000) {
        pollfd p{notified_.get(), POLLIN, 0};
        if (poll(&p, 1, ms) <= 0) return "";
        std::array<char, 1024> text;
        return {text.data(), static_cast<std::size_t>(recv(notified_.get(), text.data(), text.size(), 0))};
    }
    // The children's pids.
    [[nodiscard]] std::set<pid_t> children() const {
        std::ifstream file(fmt::format("/proc/{0}/task/{0}/children", pid_));
        std::set<pid_t> result;
        for (pid_t pid; file >> pid;) result.insert(pid);
        return result;
    }
    // Waits until the file `name` has `count` lines, and sees that it gets no more.
    bool await_lines(const std::string& name, std::size_t count) const {
        const auto lines = [&] {
            std::ifstream file(scratch_.path + "/" + name);
            return static_cast<std::size_t>(
                std::count(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>(), '\n'));
        };
        for (int i = 0; i < 100 && lines() < count; ++i) usleep(50'000);
        usleep(300'000);
        return lines() == count;
    }
    // Waits until there are `count` children and none of `gone` is among them.
    bool await(std::size_t count, const std::set<pid_t>& gone = {}) const {
        for (int ms = 0; ms < 10000; ms += 10) {
            const auto now = children();
            bool good = now.size() == count;
            for (const pid_t pid : gone) good = good && !now.contains(pid);
            if (good) return true;
            usleep(10000);
        }
        return false;
    }
    void signal(int number) const { kill(pid_, number); }
    // Adds to the configuration, whose last section is [announce], and has it read again.
    void reload_with(const std::string& more) {
        std::ofstream(config_, std::ios::app) << more;
        signal(SIGHUP);
        cr_assert_eq(notification(), "STATUS=reloading");
        cr_assert(notification().starts_with("READY=1\n"));
    }
    // Waits for its end and returns its exit status.
    int status() {
        int status = 0;
        waitpid(std::exchange(pid_, -1), &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    Scratch scratch_;
    std::string key_, config_;

private:
    int play() const {
        set_log_sink([](Level, std::string_view) noexcept {});
        auto settings = read_settings(config_);
        auto pki = read_pki(*settings);
        Ground ground;
        ground.directory = scratch_.path;
        ground.tls = std::move(*open_listener(settings->tls.address, settings->tls.port));
        const auto loop = loop::make_event_loop();
        auto key = open_key(*settings);
        Supervisor supervisor(*loop, config_, std::move(ground));
        return supervisor.run(std::move(*settings), std::move(*pki), std::move(*key));
    }
    UniqueFd notified_;
    pid_t pid_ = -1;
};

std::string ready_then(const std::string& rest) { return k_ready + rest; }

}  // namespace

Test(supervisor, tells_when_all_serve_and_ends_all) {
    Play play(ready_then("exec sleep 60"), ready_then("exec sleep 60"),
              "sleep 0.3\n" + ready_then("exec sleep 60"));
    const std::string told = play.notification();
    cr_assert(told.starts_with("READY=1\nSTATUS=serving TLS on localhost:"), "%s", told.c_str());
    cr_assert(told.find("\nX_VIRTGATE_TLS_PORT=") != told.npos);
    const auto before = play.children();
    cr_assert_eq(before.size(), 5);  // two gates, two keepers, doorman
    play.signal(SIGTERM);
    cr_assert_eq(play.notification(), "STOPPING=1");
    cr_assert_eq(play.status(), 0);
    for (const pid_t pid : before) cr_assert_eq(kill(pid, 0), -1, "process %d is left", pid);
}

Test(supervisor, kills_who_does_not_end) {
    Play play(ready_then("trap '' TERM; while :; do sleep 0.1; done"), ready_then("exec sleep 60"),
              ready_then("exec sleep 60"));
    cr_assert(!play.notification().empty());
    const auto begin = std::chrono::steady_clock::now();
    play.signal(SIGINT);
    cr_assert_eq(play.status(), 0);
    const auto took = std::chrono::steady_clock::now() - begin;
    cr_assert(took >= Generation::k_patience && took < 2 * Generation::k_patience);
}

Test(supervisor, starts_again_what_ends) {
    Play play(ready_then("exec sleep 60"), ready_then("exec sleep 60"), ready_then("exec sleep 60"));
    cr_assert(!play.notification().empty());
    const auto before = play.children();
    for (const pid_t pid : before) kill(pid, SIGKILL);
    cr_assert(play.await(5, before), "not all of them are back");
}

// One of the two gates does it, once; the one that is started in its place does not.
Test(supervisor, kills_a_child_that_it_cannot_speak_to_and_starts_another) {
    const std::string drain =
        "printf '\\0\\0\\0\\034\\126\\107\\0\\1\\0\\0\\0\\1\\0\\0\\0\\2\\0\\0\\0\\2\\0\\0\\0\\0\\0\\0\\0\\0' "
        ">&4\n";
    for (const std::string& sin : {drain, std::string("exec 4>&-\n")}) {
        Play play(ready_then("sleep 0.5\nif mkdir \"${0%/*}/once\" 2>/dev/null; then\n" + sin +
                             "fi\nexec sleep 60"),
                  ready_then("exec sleep 60"), ready_then("exec sleep 60"));
        cr_assert(!play.notification().empty());
        const auto before = play.children();
        std::set<pid_t> now = before;
        for (int i = 0; i < 500 && (now == before || now.size() != before.size()); ++i) {
            usleep(10'000);
            now = play.children();
        }
        cr_assert_eq(now.size(), before.size());
        std::set<pid_t> same;
        std::set_intersection(now.begin(), now.end(), before.begin(), before.end(),
                              std::inserter(same, same.end()));
        cr_assert_eq(same.size(), before.size() - 1, "%zu others", before.size() - same.size());
    }
}

Test(supervisor, gives_up_when_the_configuration_is_wrong) {
    Play play(ready_then("exec sleep 60"), "exit 78", ready_then("exec sleep 60"));
    cr_assert_eq(play.status(), 78);
    cr_assert_eq(play.notification(0), "");
}

Test(supervisor, gives_up_when_a_child_never_works) {
    Play play(ready_then("exec sleep 60"), ready_then("exec sleep 60"), "exit 1");
    cr_assert_eq(play.status(), 71);
}

Test(supervisor, reloads_with_new_gates_while_the_old_ones_drain) {
    // Gates end when they are told to drain and the file `leave` is there: until then they have a session.
    const std::string gate = ready_then(await_word(proto::supervise::Procedure::drain) +
                                        "while [ ! -e ${0%/*}/leave ]; do sleep 0.05; done\n");
    Play play(gate, ready_then("exec sleep 60"), ready_then("exec sleep 60"));
    cr_assert(!play.notification().empty());
    const auto before = play.children();
    cr_assert_eq(before.size(), 5);
    play.signal(SIGHUP);
    cr_assert_eq(play.notification(), "STATUS=reloading");
    cr_assert(play.notification().starts_with("READY=1\n"));
    cr_assert_eq(play.children().size(), 10,
                 "the old gates have to stay, and their keepers and doorman with them");
    play.scratch_.write("leave", "");
    cr_assert(play.await(5, before), "something old is left");
    // A configuration that is wrong changes nothing.
    const auto after = play.children();
    chmod(play.key_.c_str(), 0644);
    play.signal(SIGHUP);
    cr_assert_eq(play.notification(300), "");
    cr_assert(play.children() == after);
}

Test(supervisor, keeps_the_old_generation_when_the_new_one_cannot_work) {
    // Keepers started after the file `broken` was made find the configuration wrong. Gates note that they serve.
    const std::string gate = ready_then(await_word(proto::supervise::Procedure::serve) +
                                        "echo gate >> ${0%/*}/served; exec sleep 60\n");
    Play play(gate, "[ -e ${0%/*}/broken ] && exit 78\n" + ready_then("exec sleep 60"),
              ready_then("exec sleep 60"));
    cr_assert(!play.notification().empty());
    const auto before = play.children();
    cr_assert(play.await_lines("served", 2), "both gates serve");
    play.scratch_.write("broken", "");
    play.signal(SIGHUP);
    cr_assert_eq(play.notification(), "STATUS=reloading");
    cr_assert(play.notification().starts_with("READY=1\n"));
    cr_assert(play.await(5), "the new generation is still there");
    cr_assert(play.children() == before);
    cr_assert(play.await_lines("served", 2), "a gate of the new generation was told to serve");
    unlink((play.scratch_.path + "/broken").c_str());
    play.signal(SIGHUP);
    cr_assert_eq(play.notification(), "STATUS=reloading");
    cr_assert(play.notification().starts_with("READY=1\n"));
    cr_assert(play.await_lines("served", 4));
    play.signal(SIGTERM);
    cr_assert_eq(play.notification(), "STOPPING=1");
    cr_assert_eq(play.status(), 0);
}

namespace {

// Writes a line with its pid and what it was started with: the name, the port, and whether the one before it waited.
constexpr const char* k_announcer = "echo $$ $(od -An -v -tx1 <&3 | tr -d ' \\n') >> ${0%/*}/announcers\n";

std::vector<std::string> lines_of(const std::string& path) {
    std::ifstream file(path);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
}

}  // namespace

Test(announcement, begins_when_clients_are_served_and_is_not_needed_for_that) {
    // It never says that it is ready.
    Play play(ready_then("exec sleep 60"), ready_then("exec sleep 60"),
              "sleep 0.3\n[ -e ${0%/*}/announcers ] && exit 78\n" + ready_then("exec sleep 60"),
              std::string(k_announcer) + "exec sleep 60");
    cr_assert(play.notification().starts_with("READY=1\n"));
    cr_assert(play.await_lines("announcers", 1));
    cr_assert(play.await(6));
    play.signal(SIGTERM);
    cr_assert_eq(play.status(), 0);
}

Test(announcement, is_replaced_when_it_changes_and_only_then) {
    Play play(ready_then("exec sleep 60"), ready_then("exec sleep 60"), ready_then("exec sleep 60"),
              std::string(k_announcer) + ready_then("exec sleep 60"));
    cr_assert(!play.notification().empty());
    cr_assert(play.await_lines("announcers", 1));
    play.reload_with("");
    cr_assert(play.await_lines("announcers", 1), "nothing has changed");
    play.reload_with("name = 'other'\n");
    cr_assert(play.await_lines("announcers", 2));
    const auto lines = lines_of(play.scratch_.path + "/announcers");
    cr_assert(lines[0].find("6f74686572") == std::string::npos);
    cr_assert(lines[1].find("6f74686572") != std::string::npos, "%s", lines[1].c_str());
    cr_assert_eq(kill(std::stoi(lines[0]), 0), -1, "the old one has ended before the new one begins");
    cr_assert_eq(kill(std::stoi(lines[1]), 0), 0);
    play.signal(SIGTERM);
    cr_assert_eq(play.status(), 0);
    cr_assert_eq(kill(std::stoi(lines[1]), 0), -1, "it is left");
}

Test(announcement, that_waits_is_tried_again_and_told_so) {
    Play play(ready_then("exec sleep 60"), ready_then("exec sleep 60"), ready_then("exec sleep 60"),
              std::string(k_announcer) + "[ $(wc -l <${0%/*}/announcers) = 2 ] && exec sleep 60\nexit 69\n");
    cr_assert(!play.notification().empty());
    cr_assert(play.await_lines("announcers", 2));
    const auto words = [](const std::string& line) { return line.substr(line.find(' ') + 1); };
    const auto lines = lines_of(play.scratch_.path + "/announcers");
    cr_assert_neq(words(lines[0]), words(lines[1]), "the second one does not know that the first one waited");
    play.signal(SIGTERM);
    cr_assert_eq(play.status(), 0);
}
