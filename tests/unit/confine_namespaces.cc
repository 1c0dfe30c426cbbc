// SPDX-License-Identifier: LGPL-2.1-or-later
// confine_namespaces - a process alone: what it cannot reach any more, what it keeps, and machines that do not let it.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include "libshared/base/fd.h"
#include "libshared/confine/check.h"
#include "libshared/confine/namespaces.h"
#include "libshared/confine/privileges.h"
#include "libshared/confine/supervisor.h"
#include "tests/unit/confine_rig.h"

using namespace virtgate;
using namespace virtgate::confine;
using namespace virtgate::confine_test;

namespace {

sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    return address;
}

template <class Address>
int try_connect(const Address& address, int type, socklen_t size = sizeof(Address)) {
    const UniqueFd one{socket(reinterpret_cast<const sockaddr*>(&address)->sa_family, type, 0)};
    return one ? errno_of(connect(one.get(), reinterpret_cast<const sockaddr*>(&address), size)) : k_wrong;
}

UniqueFd listen_at(const sockaddr_un& address, socklen_t size = sizeof(sockaddr_un)) {
    UniqueFd listener{socket(AF_UNIX, SOCK_STREAM, 0)};
    cr_assert_eq(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    cr_assert_eq(listen(listener.get(), 8), 0);
    return listener;
}

// A path of this test's own; the socket there is everybody's.
sockaddr_un own_path(const char* name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "/tmp/vgt-%s-%d", name, getpid());
    unlink(address.sun_path);
    return address;
}

// As nobody, unless it is somebody else already: alone, with the rights that belong to it dropped.
void be_alone(bool with_root = false) {
    auto report = modest();
    const auto has_left = leave_namespaces(report);
    if (!has_left) must(tl::unexpected<Error>(has_left.error()));
    if (!*has_left) _exit(k_not_set_up);
    if (!with_root) return must(drop_capabilities({}, report));
    auto root = EmptyRoot::prepare();
    if (!root) must(tl::unexpected<Error>(root.error()));
    must(drop_capabilities({}, report));
    must(root->enter(report));
    if (!report.complete(Layer::namespaces)) _exit(k_wrong);
}

Ending attempt(bool with, const std::function<int()>& body, bool with_root = false) {
    return in_child([&] {
        become_nobody();
        if (with) be_alone(with_root);
        return body();
    });
}

void need_namespaces() {
    const auto why_not = find_why_not_alone();
    cr_assert(why_not.has_value());
    if (!why_not->empty()) cr_skip_test("%s", why_not->c_str());
    // Where the service manager's are enough, there are none to make.
    const bool makes = in_child([] { return unshare(CLONE_NEWUSER) < 0 ? errno : 0; }) == 0;
    if (!makes) cr_skip_test("nobody may make namespaces here");
}

// A machine on which unshare() fails with `error`; the rest of the body is a step's.
void refuse_unshare(int error) {
    const Row rows[] = {refuse("unshare", error, "a machine that forbids it")};
    const auto filter = Filter::make({rows}, OnViolation::log);
    auto report = modest();
    must(forbid_new_privileges(report));
    if (!filter) must(tl::unexpected<Error>(filter.error()));
    must(filter->load(report));
}

void* idle(void*) {
    pause();
    return nullptr;
}

}  // namespace

Test(namespaces, nobody_is_in_the_network) {
    need_namespaces();
    const auto datagram = [] { return try_connect(loopback(9), SOCK_DGRAM); };
    expect_ending(attempt(false, datagram), 0);
    expect_ending(attempt(true, datagram), ENETUNREACH);
    sockaddr_un hidden{};
    hidden.sun_family = AF_UNIX;
    std::snprintf(hidden.sun_path + 1, sizeof hidden.sun_path - 1, "vgt-hidden-%d", getpid());
    const UniqueFd listener = listen_at(hidden);
    const auto abstract = [&] { return try_connect(hidden, SOCK_STREAM); };
    expect_ending(attempt(false, abstract), 0);
    expect_ending(attempt(true, abstract), ECONNREFUSED);
}

Test(namespaces, listeners_and_connections_that_are_there_go_on) {
    need_namespaces();
    const UniqueFd listener{socket(AF_INET, SOCK_STREAM, 0)};
    auto address = loopback(0);
    socklen_t size = sizeof address;
    cr_assert_eq(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    cr_assert_eq(listen(listener.get(), 8), 0);
    cr_assert_eq(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    const UniqueFd client{socket(AF_INET, SOCK_STREAM, 0)};
    cr_assert_eq(connect(client.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    cr_assert_eq(write(client.get(), "hello", 5), 5);
    const auto serve = [&] {
        const UniqueFd one{accept(listener.get(), nullptr, nullptr)};
        char text[8];
        return read(one.get(), text, sizeof text) == 5 ? 0 : k_wrong;
    };
    expect_ending(attempt(true, serve), 0);
}

// A journal, a bus or a daemon goes on seeing who it is.
Test(namespaces, others_see_the_same_user) {
    need_namespaces();
    const auto address = own_path("seen");
    const UniqueFd listener = listen_at(address);
    cr_assert_eq(chmod(address.sun_path, 0777), 0);
    expect_ending(attempt(true, [&] { return try_connect(address, SOCK_STREAM); }), 0);
    const UniqueFd client{accept(listener.get(), nullptr, nullptr)};
    ucred peer{};
    socklen_t size = sizeof peer;
    cr_assert_eq(getsockopt(client.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
    cr_assert_eq(peer.uid, is_root() ? 65534 : getuid());
    unlink(address.sun_path);
}

Test(namespaces, no_capability_is_left_and_none_comes_back) {
    need_namespaces();
    const auto count = [] {
        auto self = open_self();
        if (!self) return k_wrong;
        char text[4096]{};
        if (read(self->get(), text, sizeof text - 1) <= 0) return k_wrong;
        const auto status = parse_status(text);
        if (!status) return k_wrong;
        const auto any =
            status->inheritable | status->permitted | status->effective | status->bounding | status->ambient;
        return any == 0 ? errno_of(unshare(CLONE_NEWNET)) : k_wrong;
    };
    expect_ending(attempt(true, count), EPERM);
}

// Who is the same user outside has all capabilities in the namespace, but not in the memory.
Test(namespaces, closed_memory_stays_closed_and_the_end_comes_with_the_parent) {
    need_namespaces();
    if (!is_root()) cr_skip_test("takes root, to become a user without capabilities");
    const auto end = in_child([] {
        become_nobody();
        int ends[2];
        if (pipe(ends) < 0) return k_wrong;
        const pid_t child = fork();
        if (child == 0) {
            auto report = modest();
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            must(close_memory(report));
            be_alone();
            int signal = 0;
            prctl(PR_GET_PDEATHSIG, &signal);
            const char good = signal == SIGKILL && prctl(PR_GET_DUMPABLE) == 0 ? 'y' : 'n';
            static_cast<void>(!write(ends[1], &good, 1));
            pause();
            _exit(0);
        }
        char good = 0;
        if (read(ends[0], &good, 1) != 1 || good != 'y') return k_wrong;
        const std::string path = fmt::format("/proc/{}/mem", child);
        const int failed = errno_of(open(path.c_str(), O_RDONLY));
        kill(child, SIGKILL);
        waitpid(child, nullptr, 0);
        return failed;
    });
    expect_ending(end, EACCES);
}

Test(namespaces, without_files_the_root_directory_is_empty) {
    need_namespaces();
    const auto address = own_path("named");
    const UniqueFd listener = listen_at(address);
    cr_assert_eq(chmod(address.sun_path, 0777), 0);
    const std::pair<const char*, std::function<int()>> rows[] = {
        // What Landlock does not cover: see landlock.sockets_with_a_path_are_not_covered.
        {"a socket", [&] { return try_connect(address, SOCK_STREAM); }},
        {"whether it is there", [&] { return errno_of(access(address.sun_path, F_OK)); }},
        {"from here", [] { return errno_of(access("../../../etc/passwd", F_OK)); }},
        {"a file", [] { return errno_of(open("/etc/passwd", O_RDONLY)); }},
    };
    for (const auto& [name, body] : rows) {
        const auto before = attempt(false, body);
        const bool from_here = std::strcmp(name, "from here") == 0;  // wherever the test was started
        cr_assert(from_here || before == 0, "%s: %s", name, describe(before).c_str());
        const auto after = attempt(true, body, true);
        // Those of a process that has ended: older kernels say the one, newer ones the other.
        cr_assert(after == ENOENT || after == ESRCH, "%s: %s", name, describe(after).c_str());
    }
    const auto escape = [] { return errno_of(unshare(CLONE_NEWUSER)); };
    expect_ending(attempt(true, escape, true), EPERM);
    unlink(address.sun_path);
}

// The second process ends with what it was made for, or without.
Test(namespaces, a_way_that_is_not_taken_leaves_nobody) {
    need_namespaces();
    const auto end = in_child([] {
        become_nobody();
        auto report = modest();
        const auto has_left = leave_namespaces(report);
        if (!has_left || !*has_left) return k_wrong;
        {
            const auto root = EmptyRoot::prepare();
            if (!root) return k_wrong;
        }
        if (access("/etc/passwd", F_OK) < 0) return k_wrong;
        return errno_of(waitpid(-1, nullptr, __WALL));
    });
    expect_ending(end, ECHILD);
}

Test(namespaces, a_second_thread_is_our_mistake_and_no_lack) {
    const auto end = in_child([] {
        become_nobody();
        auto report = modest();
        pthread_t other{};
        if (pthread_create(&other, nullptr, idle, nullptr) != 0) return k_wrong;
        return leave_namespaces(report) ? 0 : 1;
    });
    expect_ending(end, 1);
}

// The administrator, a container or the kernel does not let us.
Test(namespaces, where_they_are_forbidden_that_is_known) {
    enum Outcome { lacking, failed, given };
    const auto run = [](int error, Demand demand, bool is_alone) {
        return in_child([&] {
            if (is_alone && unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC) < 0) return k_not_set_up;
            refuse_unshare(error);
            Report report{demand};
            const auto has_left = leave_namespaces(report);
            if (!has_left) return static_cast<int>(failed);
            if (*has_left) return k_wrong;
            const auto why_not = find_why_not_alone();
            if (!why_not || why_not->empty() != is_alone) return k_wrong;
            return static_cast<int>(report.complete(Layer::namespaces) ? given : lacking);
        });
    };
    for (const int error : {EPERM, EACCES, EINVAL, ENOSYS, ENOSPC, EUSERS}) {
        expect_ending(run(error, Demand::best_effort, false), lacking);
        expect_ending(run(error, Demand::strict, false), failed);
    }
    // Neither forbidden nor unknown: it did not work.
    for (const int error : {ENOMEM, EFAULT}) expect_ending(run(error, Demand::best_effort, false), failed);
    need_namespaces();
    // A service manager has given a network of its own, and lets nobody make another.
    for (const auto demand : {Demand::best_effort, Demand::strict})
        expect_ending(run(EPERM, demand, true), given);
}

Test(namespaces, a_supervisor_lets_its_children_and_no_others) {
    Plan plan{.process = "supervisor", .rows = {}, .stays = "it starts others"};
    let_leave(plan);
    cr_assert(plan.starts_leavers && plan.rows.size() == 1);
    const auto attempt_below = [&](int flags) {
        return in_child([&] {
            auto report = modest();
            must(forbid_new_privileges(report));
            auto filter = Filter::make({supervisor_rows(), plan.rows[0]}, OnViolation::kill);
            if (!filter) return k_not_set_up;
            become_nobody();
            must(filter->load(report));
            return errno_of(unshare(flags));
        });
    };
    constexpr int k_all = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    for (const int flags :
         {CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWNS, k_all | CLONE_NEWNS, k_all | CLONE_NEWPID})
        expect_signal(attempt_below(flags), SIGSYS);
    need_namespaces();
    expect_ending(attempt_below(k_all), 0);
}

// With the capabilities of a namespace of one's own there would be much to find behind it.
Test(namespaces, a_supervisor_asks_the_kernel_for_addresses_only) {
    const auto attempt_below = [](int type, int protocol) {
        return in_child([&] {
            auto report = modest();
            must(forbid_new_privileges(report));
            auto filter = Filter::make({supervisor_rows(), resolver_rows()}, OnViolation::kill);
            if (!filter) return k_not_set_up;
            must(filter->load(report));
            return errno_of(socket(AF_NETLINK, type, protocol));
        });
    };
    expect_ending(attempt_below(SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), 0);
    for (const int protocol : {NETLINK_NETFILTER, NETLINK_XFRM, NETLINK_GENERIC})
        expect_signal(attempt_below(SOCK_RAW, protocol), SIGSYS);
}
