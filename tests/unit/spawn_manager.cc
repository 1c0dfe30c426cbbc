// SPDX-License-Identifier: LGPL-2.1-or-later
// spawn_manager - descriptors from the service manager, and to it.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>

#include "libshared/spawn/child.h"
#include "libshared/spawn/listen_fds.h"
#include "libshared/spawn/notify.h"
#include "libshared/spawn/watchdog.h"

using namespace virtgate;
using namespace virtgate::spawn;

namespace {

void set_listen(const std::string& pid, const char* count, const char* names) {
    setenv("LISTEN_PID", pid.c_str(), 1);
    count != nullptr ? setenv("LISTEN_FDS", count, 1) : unsetenv("LISTEN_FDS");
    names != nullptr ? setenv("LISTEN_FDNAMES", names, 1) : unsetenv("LISTEN_FDNAMES");
}

// Runs `what` in a process that has pipes at 3 and 4, and nothing from 5 to 9. Returns what it returns.
int in_process(const std::function<int()>& what) {
    const pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        int ends[2];
        if (pipe(ends) < 0 || dup2(ends[0], 100) < 0 || dup2(ends[1], 101) < 0) _exit(90);
        if (dup2(100, 3) < 0 || dup2(101, 4) < 0) _exit(91);
        for (int fd = 5; fd < 10; ++fd) close(fd);
        _exit(what());
    }
    int status = 0;
    waitpid(pid, &status, 0);
    cr_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

std::string own_pid() { return std::to_string(getpid()); }

// What the call says of such an environment.
std::string refusal(const std::string& pid, const char* count, const char* names) {
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    const int text_end = fcntl(ends[1], F_DUPFD, 200);
    const int status = in_process([&] {
        set_listen(pid.empty() ? own_pid() : pid, count, names);
        const auto taken = take_listen_fds();
        if (taken) return 1;
        return write(text_end, taken.error().text.data(), taken.error().text.size()) > 0 &&
                       fcntl(3, F_GETFD) >= 0
                   ? 0
                   : 2;
    });
    cr_assert_eq(status, 0, "%s %s: %d", count, names != nullptr ? names : "-", status);
    char text[512];
    const ssize_t n = read(ends[0], text, sizeof text);
    for (const int fd : {ends[0], ends[1], text_end}) close(fd);
    return {text, static_cast<std::size_t>(n)};
}

struct Socket {
    Socket() {
        cr_assert_not_null(mkdtemp(directory));
        path = std::string(directory) + "/notify";
        fd = UniqueFd{socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path.c_str(), path.size());
        cr_assert_eq(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        setenv("NOTIFY_SOCKET", path.c_str(), 1);
    }
    ~Socket() {
        unlink(path.c_str());
        rmdir(directory);
    }
    // The next notice, and the descriptor that came with it.
    std::pair<std::string, UniqueFd> take() {
        char text[4096];
        alignas(cmsghdr) char control[256];
        iovec part{text, sizeof text};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        const ssize_t n = recvmsg(fd.get(), &message, MSG_CMSG_CLOEXEC);
        if (n < 0) return {};
        UniqueFd sent;
        if (const cmsghdr* head = CMSG_FIRSTHDR(&message)) {
            int number = -1;
            std::memcpy(&number, CMSG_DATA(head), sizeof number);
            sent = UniqueFd{number};
        }
        return {std::string(text, static_cast<std::size_t>(n)), std::move(sent)};
    }
    char directory[32] = "/tmp/virtgate-notify-XXXXXX";
    std::string path;
    UniqueFd fd;
};

}  // namespace

Test(listen_fds, are_taken_with_their_names) {
    const int status = in_process([] {
        set_listen(own_pid(), "2", "own:14");
        auto taken = take_listen_fds();
        if (!taken || taken->size() != 2) return 1;
        if ((*taken)[0].name != "own" || (*taken)[0].fd.get() != 3 || (*taken)[1].name != "14" ||
            (*taken)[1].fd.get() != 4)
            return 2;
        for (const int fd : {3, 4})
            if ((fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) return 3;
        for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
            if (getenv(name) != nullptr) return 4;
        taken->clear();
        if (fcntl(3, F_GETFD) >= 0 || fcntl(4, F_GETFD) >= 0) return 5;
        const auto again = take_listen_fds();
        return again && again->empty() ? 0 : 6;
    });
    cr_assert_eq(status, 0, "%d", status);
}

Test(listen_fds, without_names_are_unknown) {
    const int status = in_process([] {
        set_listen(own_pid(), "1", nullptr);
        auto taken = take_listen_fds();
        return taken && taken->size() == 1 && (*taken)[0].name == "unknown" && fcntl(4, F_GETFD) >= 0 ? 0 : 1;
    });
    cr_assert_eq(status, 0);
}

Test(listen_fds, of_another_process_are_left_alone) {
    const int status = in_process([] {
        set_listen(std::to_string(getppid()), "2", "own:14");
        const auto taken = take_listen_fds();
        return taken && taken->empty() && (fcntl(3, F_GETFD) & FD_CLOEXEC) == 0 &&
                       getenv("LISTEN_PID") == nullptr
                   ? 0
                   : 1;
    });
    cr_assert_eq(status, 0);
}

Test(listen_fds, that_cannot_be_right_are_an_error) {
    const std::string missing = refusal("", "3", "a:b:c");
    cr_assert(missing.starts_with("descriptor 5 of LISTEN_FDS: "), "%s", missing.c_str());
    cr_assert_eq(refusal("", "2", "a"), "LISTEN_FDNAMES has 1 names for 2 descriptors");
    cr_assert_eq(refusal("", "1", "a:b"), "LISTEN_FDNAMES has 2 names for 1 descriptors");
    for (const char* count : {"-1", "two", "", "99999999", "2 ", "0x2"})
        cr_assert_eq(refusal("", count, "a:b"), "LISTEN_FDS is not a number of descriptors", "%s", count);
    cr_assert_eq(refusal("me", "2", "a:b"), "LISTEN_PID is not the number of a process");
}

Test(child, gets_descriptors_as_a_manager_passes_them) {
    const int file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    auto memory = make_sealed_memfd("x", "hello", 5);
    cr_assert(memory.has_value());
    Launch launch;
    launch.path = "/bin/sh";
    launch.arguments = {
        "-c",
        "test $LISTEN_PID = $$ && echo mine; echo $LISTEN_FDS $LISTEN_FDNAMES $GIVEN; cat <&4; "
        "for f in /proc/self/fd/*; do printf ' %s' ${f##*/}; done"};
    launch.environment = {"GIVEN=2"};
    launch.listen = {{"own", file}, {"14", memory->get()}};
    auto child = start(std::move(launch));
    cr_assert(child.has_value(), "%s", child ? "" : child.error().text.c_str());
    cr_assert(set_nonblocking(child->log.get(), false).has_value());
    std::string text;
    char buffer[512];
    for (ssize_t n; (n = read(child->log.get(), buffer, sizeof buffer)) > 0;)
        text.append(buffer, static_cast<std::size_t>(n));
    waitpid(child->pid, nullptr, 0);
    cr_assert(text == "mine\n2 own:14 2\nhello 0 1 2 3 4" || text == "mine\n2 own:14 2\nhello 0 1 2 3 4 5",
              "%s", text.c_str());
    cr_assert_geq(fcntl(file, F_GETFD), 0, "it was borrowed");
}

Test(child, with_names_that_do_not_fit_is_not_started) {
    Launch launch;
    launch.path = "/bin/true";
    for (int i = 0; i < 70; ++i) launch.listen.push_back({std::string(2'000, 'x'), 0});
    const auto child = start(std::move(launch));
    cr_assert(!child.has_value());
    cr_assert(child.error().text.find("the names of 70 descriptors are too long") != std::string::npos);
}

Test(notify, carries_a_descriptor) {
    Socket manager;
    const auto socket = connect_notify();
    cr_assert(socket.has_value() && *socket);
    auto memory = make_sealed_memfd("x", "kept", 4);
    const auto sent = send_notice(socket->get(), "FDSTORE=1\nFDNAME=A", memory->get());
    cr_assert(sent.has_value() && *sent);
    memory->reset();
    auto [text, fd] = manager.take();
    cr_assert_eq(text, "FDSTORE=1\nFDNAME=A");
    char buffer[8];
    cr_assert_eq(pread(fd.get(), buffer, sizeof buffer, 0), 4);
}

Test(notify, says_when_the_manager_is_behind) {
    Socket manager;
    const auto socket = connect_notify();
    cr_assert(socket.has_value() && *socket);
    int sent = 0;
    for (;; ++sent) {
        const auto one = send_notice(socket->get(), "X=1");
        cr_assert(one.has_value());
        if (!*one) break;
        cr_assert_lt(sent, 100'000);
    }
    pollfd ready{socket->get(), POLLOUT, 0};
    cr_assert_eq(poll(&ready, 1, 0), 0, "it says that there is room");
    const auto barrier = ask_barrier(socket->get());
    cr_assert(barrier.has_value() && !*barrier);
    for (int i = 0; i <= sent / 2 + 1; ++i) static_cast<void>(manager.take());
    cr_assert_eq(poll(&ready, 1, 1000), 1, "it does not say that there is room again");
}

Test(notify, waits_behind_a_barrier) {
    Socket manager;
    const auto socket = connect_notify();
    auto barrier = ask_barrier(socket->get());
    cr_assert(barrier.has_value() && *barrier);
    pollfd ready{barrier->get(), POLLIN, 0};
    cr_assert_eq(poll(&ready, 1, 0), 0);
    auto [text, fd] = manager.take();
    cr_assert_eq(text, "BARRIER=1");
    cr_assert_eq(poll(&ready, 1, 0), 0, "the manager has it, and has not closed it");
    fd.reset();
    cr_assert_eq(poll(&ready, 1, 0), 1);
}

Test(notify, has_no_socket_without_a_manager) {
    unsetenv("NOTIFY_SOCKET");
    const auto socket = connect_notify();
    cr_assert(socket.has_value() && !*socket);
    setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
    cr_assert(!connect_notify().has_value());
    setenv("NOTIFY_SOCKET", "relative", 1);
    cr_assert(!connect_notify().has_value());
}

namespace {

// The period of a watchdog that finds these variables.
long long period(const char* microseconds, const char* pid) {
    microseconds != nullptr ? setenv("WATCHDOG_USEC", microseconds, 1) : unsetenv("WATCHDOG_USEC");
    pid != nullptr ? setenv("WATCHDOG_PID", pid, 1) : unsetenv("WATCHDOG_PID");
    const auto loop = loop::make_event_loop();
    return Watchdog(*loop).period().count();
}

}  // namespace

Test(watchdog, hears_how_patient_the_manager_is) {
    cr_assert_eq(period(nullptr, nullptr), 0);
    cr_assert_eq(period("30000000", nullptr), 15'000);
    cr_assert_eq(period("30000000", own_pid().c_str()), 15'000);
    cr_assert_eq(period("30000000", "1"), 0, "another process is meant");
    for (const char* wrong : {"", "x", "-1", "30s", "99999999999999999999999"})
        cr_assert_eq(period(wrong, nullptr), 0, "%s", wrong);
    cr_assert_eq(period("30000000", "me"), 0);
}

Test(watchdog, is_fed_while_the_loop_turns) {
    Socket manager;
    setenv("WATCHDOG_USEC", "20000", 1);
    unsetenv("WATCHDOG_PID");
    const auto loop = loop::make_event_loop();
    const Watchdog watchdog(*loop);
    cr_assert_str_not_empty(getenv("WATCHDOG_USEC"), "a process that executes itself anew needs it");
    const auto enough = loop->timer(loop::to<&loop::Loop::stop>(*loop));
    enough->start(Milliseconds{200});
    loop->run();
    for (int i = 0; i < 3; ++i) cr_assert_eq(manager.take().first, "WATCHDOG=1");
}
