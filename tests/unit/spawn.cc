// SPDX-License-Identifier: LGPL-2.1-or-later
// spawn - what a child gets, how its end is told, and when it is started again.
//
// The children are shells: what they see is what one of our own programs would see.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <vector>

#include "libshared/channel/packet.h"
#include "libshared/loop/fake_loop.h"
#include "libshared/spawn/notify.h"
#include "libshared/spawn/self.h"
#include "libshared/spawn/ward.h"

using namespace virtgate;
using namespace virtgate::spawn;

namespace {

std::vector<std::string> g_lines;  // what was logged

void catch_logs() {
    set_log_level(Level::debug);
    set_log_sink([](Level level, std::string_view line) noexcept {
        g_lines.push_back(std::string(1, "diwe"[static_cast<int>(level)]) + " " + std::string(line));
    });
}

bool logged(std::string_view part) {
    return std::any_of(g_lines.begin(), g_lines.end(),
                       [&](const auto& line) { return line.find(part) != line.npos; });
}

Launch shell(const std::string& script) {
    Launch launch;
    launch.path = "/bin/sh";
    launch.arguments = {"-c", script};
    return launch;
}

// All that a child writes until it ends.
std::string run(Launch launch) {
    auto child = start(std::move(launch));
    cr_assert(child.has_value(), "%s", child.has_value() ? "" : child.error().text.c_str());
    cr_assert(set_nonblocking(child->log.get(), false).has_value());
    std::string text;
    char buffer[4096];
    for (ssize_t n; (n = read(child->log.get(), buffer, sizeof buffer)) > 0;)
        text.append(buffer, static_cast<std::size_t>(n));
    waitpid(child->pid, nullptr, 0);
    return text;
}

// Delivers what descriptors are ready for, for up to `ms` of real time; the fake loop's time stands still.
void pump(loop::FakeLoop& loop, int ms, const bool& until) {
    for (int waited = 0; waited < ms && !until; ++waited) {
        for (int fd = 3; fd < 64; ++fd) {
            pollfd p{fd, POLLIN, 0};
            if (has(loop.wanted(fd), loop::Want::read) && poll(&p, 1, 0) > 0)
                loop.ready(fd, loop::Want::read);
        }
        usleep(1000);
    }
}

class Owner final : public WardOwner {
public:
    Result<Launch> plan(Ward&) override { return shell(script); }
    void on_started(Ward&, UniqueFd) noexcept override { ++started; }
    void on_ended(Ward&, const Exit& how) noexcept override {
        exit = how;
        ended = true;
    }
    std::string script;
    int started = 0;
    bool ended = false;
    Exit exit;
};

}  // namespace

Test(child, has_exactly_its_descriptors) {
    const int stray = dup(0);  // not close-on-exec: it must not be inherited all the same
    Launch launch = shell("for f in /proc/self/fd/*; do printf '%s ' ${f##*/}; done; cat <&3; cat <&6");
    const std::string text = "config";
    const ByteView bytes = as_bytes(text);
    launch.config = ByteVector(bytes.begin(), bytes.end());
    launch.control = true;
    launch.extra.emplace_back(open("/dev/zero", O_RDONLY | O_CLOEXEC));
    auto memory = make_sealed_memfd("x", "second", 6);
    launch.extra.push_back(std::move(*memory));
    const std::string said = run(std::move(launch));
    // 10 is where sh keeps nothing; its own descriptor on the directory is gone when the loop runs.
    cr_assert(said == "0 1 2 3 4 5 6 configsecond" || said == "0 1 2 3 4 5 6 7 configsecond", "%s",
              said.c_str());
    close(stray);
}

Test(child, has_an_empty_environment_and_its_own_session) {
    setenv("SECRET", "1", 1);
    setenv("TZ", "UTC", 1);
    Launch launch = shell(
        "env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sort | tr '\\n' ' '; "
        "read a b c d e f g </proc/self/stat; test $$ = $f && echo leads");
    launch.environment = {"GIVEN=2"};
    const std::string said = run(std::move(launch));
    cr_assert_eq(said, "GIVEN=2 TZ=UTC leads\n", "%s", said.c_str());
}

Test(child, cannot_gain_privileges) {
    const std::string said = run(shell("grep NoNewPrivs /proc/self/status"));
    cr_assert_eq(said, "NoNewPrivs:\t1\n");
}

Test(child, that_cannot_be_executed_is_an_error_with_errno) {
    Launch launch;
    launch.path = "/nonexistent/program";
    auto child = start(std::move(launch));
    cr_assert(child.has_value() == false);
    cr_assert_eq(child.error().number, ENOENT);
    cr_assert(child.error().text.find("/nonexistent/program") != std::string::npos);
    cr_assert_eq(waitpid(-1, nullptr, WNOHANG), -1, "a process was left behind");
}

Test(child, speaks_over_its_control_channel) {
    Launch launch = shell("echo -n hello >&4");
    launch.control = true;
    auto child = start(std::move(launch));
    cr_assert(set_nonblocking(child->control.get(), false).has_value());
    std::byte buffer[100];
    std::size_t size = 0;
    cr_assert_eq(channel::receive_packet(child->control.get(), buffer, size), channel::Outcome::done);
    cr_assert_eq(as_text(ByteView(buffer, size)), "hello");
    cr_assert_eq(channel::receive_packet(child->control.get(), buffer, size), channel::Outcome::closed);
    waitpid(child->pid, nullptr, 0);
}

Test(child, dies_with_its_parent) {
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    const pid_t middle = fork();
    if (middle == 0) {
        Launch launch = shell("exec sleep 60 <&5 >&5");
        launch.extra.emplace_back(ends[1]);
        const auto child = start(std::move(launch));
        _exit(child.has_value() ? 0 : 1);
    }
    close(ends[1]);
    int status = 0;
    waitpid(middle, &status, 0);
    cr_assert_eq(status, 0);
    pollfd p{ends[0], POLLIN, 0};
    cr_assert_eq(poll(&p, 1, 5000), 1, "the grandchild still holds its descriptor");
}

Test(child, runs_as_another_user) {
    if (geteuid() != 0) cr_skip_test("only root can switch");
    auto user = find_user("nobody");
    cr_assert(user.has_value() && user->has_value());
    const auto attempt = [&] {
        Launch launch = shell("id -u; id -G; grep -c 'Cap[EPI].*:.0000000000000000' /proc/self/status");
        launch.user = **user;
        return run(std::move(launch));
    };
    std::string said = attempt();
    cr_assert_eq(said, "65534\n65534\n3\n", "%s", said.c_str());
    // A supervisor that has locked its secure bits, as each does: a change of the uid alone takes no capability away.
    cr_assert_eq(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED, 0, 0, 0),
                 0);
    said = attempt();
    cr_assert_eq(said, "65534\n65534\n3\n", "%s", said.c_str());
}

Test(child, of_a_user_who_does_not_exist) {
    auto user = find_user("no-such-user");
    cr_assert(user.has_value() && !user->has_value());
}

Test(exit, is_told_in_words) {
    cr_assert_eq(describe({.by_signal = false, .number = 0}), "ended");
    cr_assert_eq(describe({.by_signal = false, .number = 78}), "ended with status 78 (configuration error)");
    cr_assert_eq(describe({.by_signal = true, .number = SIGSYS}),
                 "was killed by SIGSYS (system call violation)");
    cr_assert_eq(describe({.by_signal = true, .number = SIGKILL}), "was killed by SIGKILL");
}

Test(exit, knows_crashes) {
    for (const int number : {SIGSYS, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP})
        cr_assert((Exit{.by_signal = true, .number = number}.is_crash()), "signal %d", number);
    for (const int number : {SIGKILL, SIGTERM, SIGINT, SIGHUP, SIGPIPE})
        cr_assert(!(Exit{.by_signal = true, .number = number}.is_crash()), "signal %d", number);
    cr_assert(!(Exit{.by_signal = false, .number = SIGSEGV}.is_crash()));
}

Test(ward, restarts_with_doubling_pauses) {
    catch_logs();
    loop::FakeLoop loop;
    Owner owner;
    owner.script = "kill -SYS $$";
    Ward ward(loop, owner, "victim");
    ward.start();
    for (const int pause : {100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000}) {
        const int before = owner.started;
        pump(loop, 5000, owner.ended);
        cr_assert(owner.ended && owner.exit.by_signal);
        cr_assert_eq(owner.exit.number, SIGSYS);
        owner.ended = false;
        loop.advance(Milliseconds(pause - 1));
        cr_assert_eq(owner.started, before, "too early");
        loop.advance(Milliseconds(1));
        cr_assert_eq(owner.started, before + 1, "not after %d ms", pause);
    }
    cr_assert(
        logged("was killed by SIGSYS (system call violation), 1 time so far; it is started again in 100 ms"));
    cr_assert(logged(
        "was killed by SIGSYS (system call violation), 2 times so far; it is started again in 200 ms"));
    // A long good run makes the next pause short again.
    pump(loop, 5000, owner.ended);
    owner.ended = false;
    owner.script = "read line <&4; exec sleep 0.05";
    loop.advance(Milliseconds(10000));
    const int before = owner.started;
    loop.advance(Ward::k_good_run);
    pump(loop, 5000, owner.ended);
    loop.advance(Milliseconds(100));
    cr_assert_eq(owner.started, before + 1);
}

Test(ward, says_a_violation_also_of_a_child_that_is_not_started_again) {
    catch_logs();
    loop::FakeLoop loop;
    Owner owner;
    owner.script = "kill -SYS $$";
    Ward ward(loop, owner, "victim", Ward::Restart::never);
    for (const char* count : {"1 time", "2 times"}) {
        owner.ended = false;
        ward.start();
        pump(loop, 5000, owner.ended);
        cr_assert(logged(fmt::format("was killed by SIGSYS (system call violation), {} so far", count)));
    }
    owner.ended = false;
    owner.script = "exit 3";
    ward.start();
    pump(loop, 5000, owner.ended);
    cr_assert(!logged("3 times so far"));
}

Test(ward, says_nothing_of_a_child_that_waits_for_something) {
    catch_logs();
    loop::FakeLoop loop;
    Owner owner;
    owner.script = "exit 69";
    Ward ward(loop, owner, "patient");
    ward.start();
    pump(loop, 5000, owner.ended);
    cr_assert(owner.exit.is_waiting());
    for (const std::string& line : g_lines) cr_assert(line.starts_with("d "), "%s", line.c_str());
    cr_assert(!(Exit{.by_signal = true, .number = 69}.is_waiting()));
    owner.script = "exit 70";
    owner.ended = false;
    loop.advance(Milliseconds(100));
    pump(loop, 5000, owner.ended);
    cr_assert(logged("ended with status 70; it is started again in 200 ms"));
}

Test(ward, that_cannot_start_tries_again) {
    catch_logs();
    class Broken final : public WardOwner {
    public:
        Result<Launch> plan(Ward&) override {
            ++asked;
            return system_fault(0, "there is no plan");
        }
        void on_started(Ward&, UniqueFd) noexcept override { ++bad; }
        void on_ended(Ward&, const Exit& exit) noexcept override { cr_assert_eq(exit.number, k_exit_system); }
        int asked = 0, bad = 0;
    } owner;
    loop::FakeLoop loop;
    Ward ward(loop, owner, "nothing");
    ward.start();
    loop.advance(Milliseconds(300));
    cr_assert_eq(owner.asked, 3);
    cr_assert_eq(owner.bad, 0, "it started");
    cr_assert(logged("there is no plan"));
    ward.stop(Milliseconds(10));
    loop.advance(Milliseconds(60000));
    cr_assert_eq(owner.asked, 3);
    cr_assert(ward.is_idle());
}

Test(ward, is_stopped_gently_then_firmly) {
    catch_logs();
    loop::FakeLoop loop;
    Owner owner;
    owner.script = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
    Ward ward(loop, owner, "stubborn");
    ward.start();
    for (int i = 0; i < 2000 && !logged("ready"); ++i) pump(loop, 1, owner.ended);
    ward.stop(Milliseconds(3000));
    pump(loop, 50, owner.ended);
    cr_assert(!owner.ended);
    loop.advance(Milliseconds(3000));
    pump(loop, 5000, owner.ended);
    cr_assert(owner.ended && owner.exit.by_signal);
    cr_assert_eq(owner.exit.number, SIGKILL);
    cr_assert(ward.is_idle());
    loop.advance(Milliseconds(60000));
    cr_assert_eq(owner.started, 1, "a stopped child was started again");
}

Test(ward, kills_when_destroyed) {
    loop::FakeLoop loop;
    Owner owner;
    owner.script = "sleep 60";
    {
        Ward ward(loop, owner, "short");
        ward.start();
        cr_assert_gt(ward.pid(), 0);
    }
    cr_assert_eq(waitpid(-1, nullptr, WNOHANG), -1, "a process was left behind");
}

Test(log_relay, gives_lines_the_name_of_their_child) {
    catch_logs();
    loop::FakeLoop loop;
    int ends[2];
    cr_assert_eq(pipe2(ends, O_NONBLOCK), 0);
    LogRelay relay(loop, UniqueFd{ends[0]}, "gate-0[7]", 200);
    const std::string text = "<3>bad\n<6>keeper[1]: forged\rline \"q\" \\x0a\nplain \xff\n<7>unfini";
    cr_assert_eq(write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
    loop.ready(ends[0], loop::Want::read);
    cr_assert_eq(g_lines.size(), 3);
    cr_assert_eq(g_lines[0], "e gate-0[7]: bad");
    cr_assert_eq(g_lines[1], "i gate-0[7]: keeper[1]: forged\\x0dline \"q\" \\x0a");
    cr_assert_eq(g_lines[2], "w gate-0[7]: plain \\xff");
    cr_assert_eq(write(ends[1], "shed", 4), 4);
    relay.drain();
    cr_assert_eq(g_lines.back(), "d gate-0[7]: unfinished");
    close(ends[1]);
}

Test(log_relay, is_bounded) {
    catch_logs();
    loop::FakeLoop loop;
    int ends[2];
    cr_assert_eq(pipe2(ends, O_NONBLOCK), 0);
    LogRelay relay(loop, UniqueFd{ends[0]}, "x", 200);
    const std::string wide(5000, 'a');
    cr_assert_eq(write(ends[1], (wide + "\n").data(), 5001), 5001);
    for (int i = 0; i < 3; ++i) loop.ready(ends[0], loop::Want::read);
    cr_assert_eq(g_lines.size(), 1);
    cr_assert_eq(g_lines[0].size(), std::string("w x: ").size() + LogRelay::k_line_max + 3);
    std::string many;
    for (int i = 0; i < 400; ++i) many += "<6>line\n";
    cr_assert_eq(write(ends[1], many.data(), many.size()), static_cast<ssize_t>(many.size()));
    relay.drain();
    cr_assert_eq(g_lines.size(), 200);
    loop.advance(Milliseconds(1000));
    cr_assert_eq(g_lines.back(), "w x: 201 lines of it were dropped", "even if the child says nothing more");
    cr_assert_eq(write(ends[1], "<6>again\n", 9), 9);
    relay.drain();
    cr_assert_eq(g_lines.back(), "i x: again");
    close(ends[1]);
}

Test(notify, sends_a_datagram_to_both_kinds_of_socket) {
    unsetenv("NOTIFY_SOCKET");
    cr_assert(notify("READY=1").has_value());
    for (const bool abstract : {false, true}) {
        const std::string name = fmt::format("{}virtgate-notify-{}", abstract ? "@" : "/tmp/", getpid());
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::copy(name.begin(), name.end(), address.sun_path);
        if (abstract) address.sun_path[0] = '\0';
        const UniqueFd socket{::socket(AF_UNIX, SOCK_DGRAM, 0)};
        const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
        cr_assert_eq(bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
        setenv("NOTIFY_SOCKET", name.c_str(), 1);
        cr_assert(notify("READY=1\nSTATUS=good").has_value());
        char buffer[64];
        const ssize_t n = recv(socket.get(), buffer, sizeof buffer, MSG_DONTWAIT);
        cr_assert_eq(std::string(buffer, static_cast<std::size_t>(std::max<ssize_t>(n, 0))),
                     "READY=1\nSTATUS=good");
        if (!abstract) unlink(name.c_str());
    }
    setenv("NOTIFY_SOCKET", "relative", 1);
    cr_assert(notify("READY=1").has_value() == false);
}

Test(self, finds_its_directory) {
    const auto directory = program_directory();
    cr_assert(directory.has_value() && directory->starts_with("/") && !directory->ends_with("/"));
}
