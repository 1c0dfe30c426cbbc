// SPDX-License-Identifier: LGPL-2.1-or-later
// holder_inheritance - what goes from one holder to the next: by an exec in place, and by the service manager. And what
// lockd.toml says.
//
// Both ways need a process whose descriptors are known, so each test runs in one of its own.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "libshared/channel/local_listener.h"
#include "lockd/holder/inheritance.h"
#include "lockd/holder/queue.h"
#include "lockd/holder/settings.h"
#include "proto/codec.h"
#include "proto/reexec.h"
#include "tests/unit/holder_rig.h"

using namespace virtgate;
using namespace virtgate::test;
using namespace virtgate::lockd::holder;

namespace {

constexpr const char* k_variable = "VIRTGATE_LOCKD_STATE";

// Runs `what` in a process of its own, which has `fds` from 3 on and nothing behind them. Returns what it returns.
int in_process(const std::vector<int>& fds, const std::function<int()>& what) {
    const pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        std::vector<int> copies;
        for (const int fd : fds) copies.push_back(fcntl(fd, F_DUPFD, 200));
        int target = 3;
        for (const int copy : copies)
            if (dup2(copy, target++) < 0) _exit(90);
        close_range(static_cast<unsigned>(target), ~0U, 0);
        _exit(what());
    }
    int status = 0;
    waitpid(pid, &status, 0);
    cr_assert(WIFEXITED(status), "it was killed");
    return WEXITSTATUS(status);
}

channel::LocalListener listen_at(const std::string& path) {
    auto listener = channel::LocalListener::open(path, {.type = SOCK_STREAM, .mode = 0600, .backlog = 1});
    cr_assert(listener.has_value());
    return std::move(*listener);
}

int take_named(const std::vector<int>& fds, const char* names,
               const std::function<int(Result<Inheritance>)>& judge) {
    return in_process(fds, [&] {
        setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
        setenv("LISTEN_FDS", std::to_string(fds.size()).c_str(), 1);
        setenv("LISTEN_FDNAMES", names, 1);
        return judge(take_inheritance());
    });
}

// What a state says, as a sealed file at descriptor 3; other descriptors are behind it.
int take_state(const proto::reexec::ReexecState& state, std::vector<int> fds,
               const std::function<int(Result<Inheritance>)>& judge) {
    const auto bytes = proto::encode(state);
    cr_assert(bytes.has_value());
    const auto file = make_sealed_memfd("state", bytes->data(), bytes->size());
    fds.insert(fds.begin(), file->get());
    return in_process(fds, [&] {
        setenv(k_variable, "3", 1);
        return judge(take_inheritance());
    });
}

bool says(const Result<Inheritance>& result, std::string_view part) {
    return !result && result.error().text.find(part) != std::string::npos;
}

}  // namespace

Test(inheritance, comes_from_the_manager_by_name) {
    const Scratch scratch;
    const auto own = listen_at(scratch / "own"), libvirt = listen_at(scratch / "libvirt");
    const UniqueFd one = make_file(), two = make_file(), stranger = make_file();
    const ino_t inode = inode_of(two.get());
    const std::string path = scratch / "libvirt";
    const int status = take_named(
        {own.get(), one.get(), libvirt.get(), stranger.get(), two.get()}, "own:0:kept-libvirt:stored:PA7",
        [&](Result<Inheritance> taken) {
            if (!taken || taken->is_reexec || taken->sockets.size() != 2 || taken->things.size() != 2)
                return 1;
            if (taken->sockets[0].name != "own" || !taken->sockets[0].path.empty()) return 2;
            if (taken->sockets[1].name != "libvirt" || taken->sockets[1].path != path) return 3;
            if (taken->things[0].slot != 0 || taken->things[1].slot != 32767) return 4;
            if (inode_of(taken->things[1].fd.get()) != inode || taken->things[1].record) return 5;
            return taken->strangers == std::vector<std::string>{"stored"} && fcntl(6, F_GETFD) < 0 ? 0 : 6;
        });
    cr_assert_eq(status, 0, "%d", status);
}

Test(inheritance, takes_no_socket_for_a_listener_that_is_none) {
    const Scratch scratch;
    const auto own = listen_at(scratch / "own");
    const auto packets = channel::LocalListener::open(scratch / "packets",
                                                      {.type = SOCK_SEQPACKET, .mode = 0600, .backlog = 1});
    const UniqueFd file = make_file();
    const UniqueFd tcp{socket(AF_INET, SOCK_STREAM, 0)};
    cr_assert_eq(listen(tcp.get(), 1), 0);
    for (const int wrong : {file.get(), tcp.get(), packets->get()})
        cr_assert_eq(
            take_named({wrong}, "own",
                       [](auto taken) { return says(taken, "is no UNIX socket that listens") ? 0 : 1; }),
            0);
    cr_assert_eq(take_named({own.get(), own.get()}, "own:own",
                            [](auto taken) { return says(taken, "there are two sockets \"own\"") ? 0 : 1; }),
                 0);
}

Test(inheritance, has_one_listener_of_each_name) {
    const Scratch scratch;
    const auto own = listen_at(scratch / "own"), older = listen_at(scratch / "older");
    for (const char* names : {"own:kept-own", "kept-own:kept-own"})
        cr_assert_eq(take_named({own.get(), older.get()}, names,
                                [](Result<Inheritance> taken) {
                                    return taken && taken->sockets.size() == 1 && fcntl(4, F_GETFD) < 0 ? 0
                                                                                                        : 1;
                                }),
                     0, "%s", names);
}

// The next program is a shell: it has the descriptors, and what is written in the state means them.
Test(inheritance, stays_open_over_an_exec) {
    const Scratch scratch;
    const std::string out = scratch / "out";
    const int status = in_process({}, [&] {
        auto own = listen_at(scratch / "own");
        const auto queue = Queue::make();
        if (!queue) _exit(9);
        std::map<Slot, Keeping::Thing> things;
        things[7] = {.fd = make_file(), .record = record("seven")};
        static_cast<void>(!write(things[7].fd.get(), "contents of seven", 17));
        const std::vector<std::string> reach{"/srv"};
        const Legacy legacy{.confined = true,
                            .reach = reach,
                            .sockets = {{k_own, own.get(), own.path()}},
                            .queues = {queue->reading.get()},
                            .things = things};
        // A wrong program first: all is as it was then.
        char* const none[] = {nullptr};
        const Error error = leave_to_next(legacy, "/nonexistent/virtgate-lockd", none);
        if (error.text.find("cannot execute /nonexistent/virtgate-lockd") == std::string::npos) return 1;
        if (getenv(k_variable) != nullptr || (fcntl(own.get(), F_GETFD) & FD_CLOEXEC) == 0) return 2;
        const std::string script = fmt::format("cat /proc/self/fd/${} >{}.state; cat /proc/self/fd/{} >{}",
                                               k_variable, out, things[7].fd.get(), out);
        char shell[] = "sh", option[] = "-c";
        char* const argv[] = {shell, option, const_cast<char*>(script.c_str()), nullptr};
        static_cast<void>(leave_to_next(legacy, "/bin/sh", argv));
        return 3;
    });
    cr_assert_eq(status, 0, "%d", status);
    cr_assert_eq(slurp(out), "contents of seven");
    const auto state = proto::decode<proto::reexec::ReexecState>(as_bytes(slurp(out + ".state")));
    cr_assert(state.has_value());
    cr_assert(state->confined);
    cr_assert_eq(state->reach.size(), 1);
    cr_assert_eq(state->things.size(), 1);
    cr_assert_eq(state->things[0].slot, 7);
    cr_assert(state->things[0].record == record("seven"));
    cr_assert_eq(state->listeners.size(), 1);
    cr_assert_eq(state->listeners[0].path, scratch / "own");
    cr_assert_eq(state->queues.size(), 1);
}

Test(inheritance, is_taken_from_what_an_exec_left) {
    const Scratch scratch;
    const auto own = listen_at(scratch / "own");
    const UniqueFd file = make_file();
    const ino_t inode = inode_of(file.get());
    proto::reexec::ReexecState state;
    state.version = proto::reexec::k_reexec_version;
    state.confined = true;
    state.reach.push_back("/srv");
    state.listeners.push_back({.name = "own", .path = scratch / "own", .fd = 4});
    state.things.push_back({.slot = 7, .fd = 5, .record = record("seven")});
    const int status = take_state(state, {own.get(), file.get()}, [&](Result<Inheritance> taken) {
        if (!taken || !taken->is_reexec || !taken->confined ||
            taken->reach != std::vector<std::string>{"/srv"})
            return 1;
        if (taken->sockets.size() != 1 || taken->sockets[0].path != scratch / "own") return 2;
        if (taken->things.size() != 1 || taken->things[0].slot != 7 ||
            *taken->things[0].record != record("seven"))
            return 3;
        if (inode_of(taken->things[0].fd.get()) != inode) return 4;
        for (const int fd : {4, 5})
            if ((fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) return 5;
        return getenv(k_variable) == nullptr && fcntl(3, F_GETFD) < 0 ? 0 : 6;
    });
    cr_assert_eq(status, 0, "%d", status);
}

Test(inheritance, of_an_exec_that_cannot_be_right_is_an_error) {
    const UniqueFd file = make_file();
    proto::reexec::ReexecState state;
    state.version = proto::reexec::k_reexec_version;
    state.things.push_back({.slot = 7, .fd = 4, .record = {}});
    const auto refuses = [&](std::string_view part) {
        return take_state(state, {file.get()}, [&](auto taken) { return says(taken, part) ? 0 : 1; }) == 0;
    };
    state.things.push_back({.slot = 8, .fd = 4, .record = {}});
    cr_assert(refuses("the holder left a descriptor twice"));
    state.things.back().fd = 3;
    cr_assert(refuses("the holder left a descriptor twice"), "the state's own");
    state.things.back().fd = 99;
    cr_assert(refuses("what the holder left"));
    state.things.pop_back();
    state.version = 1;
    cr_assert(refuses("of a version that this one does not know"));
    // A file that somebody could still change is not what a holder left.
    for (const char* number : {"3", "4", "99", "1", "x", ""})
        cr_assert_eq(in_process({file.get()},
                                [&] {
                                    setenv(k_variable, number, 1);
                                    const auto taken = take_inheritance();
                                    return says(taken, "is not") ? 0 : 1;
                                }),
                     0, "\"%s\"", number);
}

Test(settings, have_defaults) {
    const auto settings = parse_settings("", "lockd.toml");
    cr_assert(settings.has_value(), "%s", settings ? "" : settings.error().text.c_str());
    cr_assert(settings->socket.ends_with("/lockd.sock"));
    cr_assert(settings->libvirt_socket.empty());
    cr_assert_eq(settings->max_clients, 20'000);
    cr_assert(settings->fencing);
    cr_assert((settings->direct == std::vector<std::string>{"/var/lib/libvirt/images"}));
    cr_assert(std::find(settings->users.begin(), settings->users.end(), geteuid()) != settings->users.end());
}

Test(settings, reach_the_locker) {
    const auto settings = parse_settings(
        "log_level = 'warning'\nsocket = '/run/a'\nlibvirt_socket = '/run/b'\nusers = ['root', "
        "'4711']\nmax_clients = 7\n"
        "lock_spaces = ['/srv/spaces/', '/srv/more']\ndirect = []\nfencing = false\nstate_directory = "
        "'/run/c'\n"
        "sandbox = 'strict'\n",
        "lockd.toml");
    cr_assert(settings.has_value(), "%s", settings ? "" : settings.error().text.c_str());
    const auto config = make_locker_config(*settings);
    cr_assert_eq(config.log_level, 2);
    cr_assert_eq(config.max_clients, 7);
    cr_assert(!config.fencing && config.direct.empty());
    cr_assert_eq(config.lock_spaces.at(0), "/srv/spaces");
    cr_assert_eq(config.users.back(), 4711);
    cr_assert(config.sandbox == proto::config::SandboxMode::sandbox_strict);
}

Test(settings, complain_of_everything_that_is_wrong) {
    const struct {
        const char* text;
        const char* complaint;
    } mistakes[] = {
        {"sokcet = '/run/a'", "did you mean \"socket\""},
        {"socket = 'run/a'", "\"socket\" has to be an absolute path"},
        {"socket = '/run/../etc/a'", "without \"..\""},
        {"socket = ''", "\"socket\" is empty"},
        {"socket = '/a'\nlibvirt_socket = '/a'", "is the same as \"socket\""},
        {"max_clients = 0", "max_clients"},
        {"max_clients = 65537", "max_clients"},
        {"lock_spaces = ['/a', 'b']", "\"b\" has to be an absolute path"},
        {"direct = ['/a/..']", "without \"..\""},
        {"direct = ['/a//b']", "has to be an absolute path"},
        {"users = ['nobody-of-this-name']", "there is no user \"nobody-of-this-name\""},
        {"log_level = 'loud'", "\"log_level\" has to be"},
        {"sandbox = 'maybe'", "\"sandbox\" has to be"},
        {"state_directory = ''", "\"state_directory\" is empty"},
        {"fencing = 'yes'", "fencing"},
    };
    for (const auto& [text, complaint] : mistakes) {
        const auto settings = parse_settings(text, "lockd.toml");
        cr_assert(!settings.has_value(), "%s", text);
        cr_assert(settings.error().text.find(complaint) != std::string::npos, "%s: %s", text,
                  settings.error().text.c_str());
        cr_assert(settings.error().text.starts_with("lockd.toml:"), "%s", settings.error().text.c_str());
    }
    std::string long_path = "/run/";
    long_path.append(103, 'x');
    cr_assert(!parse_settings("socket = '" + long_path + "'", "x").has_value());
    const auto many = parse_settings("sandbox = 'x'\nlog_level = 'y'\nz = 1", "lockd.toml");
    cr_assert_eq(std::count(many.error().text.begin(), many.error().text.end(), '\n'), 2);
}
