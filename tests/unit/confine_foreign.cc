// SPDX-License-Identifier: LGPL-2.1-or-later
// confine_foreign - the filters of other architectures, by running the program that the kernel would get.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <string>

#include "libshared/confine/rows.h"
#include "libshared/confine/simulator.h"
#include "libshared/confine/supervisor.h"
#include "tests/unit/confine_rig.h"

using namespace virtgate;
using namespace virtgate::confine;

namespace {

constexpr Architecture k_all[] = {Architecture::native,  Architecture::x86_64, Architecture::aarch64,
                                  Architecture::ppc64le, Architecture::s390x,  Architecture::riscv64};

constexpr Row k_own[] = {
    allow("socket", "the one family", {is(0, AF_UNIX)}),
    refuse("openat", EACCES, "the C library does without"),
};

std::vector<sock_filter> compile(std::initializer_list<std::span<const Row>> tables,
                                 Architecture architecture, OnViolation on_violation = OnViolation::kill) {
    const auto filter = Filter::make(tables, on_violation, architecture);
    cr_assert(filter.has_value(), "%s", filter ? "" : filter.error().text.c_str());
    return {filter->program().begin(), filter->program().end()};
}

Answer ask(const std::vector<sock_filter>& program, Architecture architecture, const char* name,
           std::array<std::uint64_t, 6> arguments = {}) {
    const int number = call_number(architecture, name);
    cr_assert_geq(number, 0, "%s on %d", name, static_cast<int>(architecture));
    const auto answer = simulate(program, architecture, {audit_number(architecture), number, arguments});
    cr_assert(answer.has_value(), "%s", answer ? "" : answer.error().text.c_str());
    return *answer;
}

constexpr Answer k_allowed{Verdict::allowed, 0};
constexpr Answer k_killed{Verdict::killed, 0};

}  // namespace

Test(foreign, the_same_rows_mean_the_same_everywhere) {
    for (const auto one : k_all) {
        const auto program = compile({runtime_rows(), loop_rows(), channel_rows(), k_own}, one);
        const auto name = static_cast<int>(one);
        for (const char* call : {"read", "write", "epoll_ctl", "epoll_pwait", "sendmsg", "exit_group"})
            cr_assert(ask(program, one, call) == k_allowed, "%s %d", call, name);
        for (const char* call : {"execve", "ptrace", "io_uring_setup", "kill", "connect", "socketpair", "dup",
                                 "memfd_create", "userfaultfd", "bpf", "unshare", "keyctl", "clone", "clone3",
                                 "process_vm_readv", "accept4", "ioctl", "prctl"})
            cr_assert(ask(program, one, call) == k_killed, "%s %d", call, name);
        cr_assert(ask(program, one, "openat") == (Answer{Verdict::error, EACCES}));
        cr_assert(ask(program, one, "socket", {AF_UNIX}) == k_allowed, "%d", name);
        cr_assert(ask(program, one, "socket", {AF_INET}) == k_killed, "%d", name);
        // The kernel sees an int: what is above it does not count, and hides nothing.
        cr_assert(ask(program, one, "socket", {0xffffffff00000000U + AF_UNIX}) == k_allowed);
        cr_assert(ask(program, one, "socket", {0x100000000U + AF_INET}) == k_killed);
        // A pointer counts as a whole.
        cr_assert(ask(program, one, "sendto", {0, 0, 0, 0, 0, 0}) == k_allowed);
        cr_assert(ask(program, one, "sendto", {0, 0, 0, 0, 1, 0}) == k_killed);
        cr_assert(ask(program, one, "sendto", {0, 0, 0, 0, 0x100000000U, 0}) == k_killed);
        cr_assert(ask(program, one, "mprotect", {0, 0, PROT_READ | PROT_WRITE}) == k_allowed);
        cr_assert(ask(program, one, "mprotect", {0, 0, PROT_READ | PROT_EXEC}) == k_killed);
    }
}

// libseccomp by itself allows all of its parts that are in the table, whatever their arguments.
Test(foreign, socketcall_is_no_way_around_arguments) {
    for (const auto one : {Architecture::ppc64le, Architecture::s390x}) {
        const auto program = compile({runtime_rows(), channel_rows(), k_own}, one);
        constexpr std::uint64_t k_connect = 3;  // linux/net.h
        constexpr std::uint64_t k_send_to = 11;
        for (std::uint64_t part = 0; part <= 20; ++part) {
            const auto answer = ask(program, one, "socketcall", {part, 0x7fff00000000U});
            if (one == Architecture::ppc64le || part == k_connect) cr_assert(answer == k_killed);
            // There glibc makes no other calls: the part has to do.
            if (one == Architecture::s390x && part == k_send_to) cr_assert(answer == k_allowed);
        }
    }
}

Test(foreign, mmap_is_anonymous_where_its_arguments_can_be_seen) {
    for (const auto one : k_all) {
        const auto program = compile({runtime_rows()}, one);
        const auto map = [&](std::uint64_t protection, std::uint64_t flags) {
            return ask(program, one, "mmap", {0, 4096, protection, flags});
        };
        cr_assert(map(PROT_READ, MAP_ANONYMOUS | MAP_PRIVATE) == k_allowed);
        if (one == Architecture::s390x) {
            // One argument: a pointer, which may have any value.
            cr_assert(ask(program, one, "mmap", {0x7ffffffff004U}) == k_allowed);
            continue;
        }
        cr_assert(map(PROT_EXEC, MAP_ANONYMOUS | MAP_PRIVATE) == k_killed);
        cr_assert(map(PROT_READ, MAP_PRIVATE) == k_killed);
        cr_assert(map(PROT_READ, MAP_ANONYMOUS | MAP_FIXED | MAP_PRIVATE) == k_killed);
    }
}

Test(foreign, clone_makes_no_namespace) {
    constexpr std::uint64_t k_pthread = 0x3d0f00;  // what pthread_create asks for
    for (const auto one : k_all) {
        const auto program = compile({supervisor_rows()}, one);
        const auto clone = [&](std::uint64_t flags) {
            std::array<std::uint64_t, 6> arguments{0x7fff00000000U, 0x7fff00000000U};
            arguments[one == Architecture::s390x ? 1 : 0] = flags;
            return ask(program, one, "clone", arguments);
        };
        cr_assert(clone(k_pthread) == k_allowed, "%d", static_cast<int>(one));
        cr_assert(clone(SIGCHLD) == k_allowed);
        // CLONE_NEWUSER, CLONE_NEWNS, CLONE_PTRACE
        for (const std::uint64_t bad : {0x10000000U, 0x00020000U, 0x00002000U}) {
            // Where the flags are out of sight the row cannot look.
            if (one == Architecture::s390x) continue;
            cr_assert(clone(SIGCHLD | bad) == k_killed);
        }
        cr_assert(ask(program, one, "clone3") == (Answer{Verdict::error, ENOSYS}));
    }
}

Test(foreign, another_abi_is_refused_as_a_whole) {
    const auto program = compile({runtime_rows()}, Architecture::x86_64);
    const auto call = [&](std::uint32_t audit, int number) {
        return *simulate(program, Architecture::x86_64, {audit, number, {}});
    };
    constexpr std::uint32_t k_x86_64 = 0xc000003e;
    constexpr std::uint32_t k_i386 = 0x40000003;
    cr_assert_eq(audit_number(Architecture::x86_64), k_x86_64);
    cr_assert(call(k_x86_64, 0) == k_allowed);
    cr_assert(call(k_i386, 3) == k_killed);             // its read
    cr_assert(call(k_x86_64, 0x40000000) == k_killed);  // x32's read
    cr_assert(call(k_x86_64, -1) == k_killed);
}

Test(foreign, violations_can_be_trapped_and_logged) {
    const auto answer = [](OnViolation on_violation) {
        return ask(compile({runtime_rows()}, Architecture::native, on_violation), Architecture::native,
                   "execve");
    };
    cr_assert(answer(OnViolation::trap) == (Answer{Verdict::trapped, 0}));
    cr_assert(answer(OnViolation::log) == (Answer{Verdict::logged, 0}));
}

Test(foreign, every_row_has_a_reason_and_a_known_call) {
    for (const auto& table :
         {runtime_rows(), loop_rows(), channel_rows(), own_socket_rows(), supervisor_rows(), resolver_rows()})
        for (const auto& row : table) {
            cr_assert(row.reason != nullptr && row.reason[0] != '\0', "%s", row.call);
            cr_assert(Filter::make({std::span<const Row>(&row, 1)}, OnViolation::kill).has_value(), "%s",
                      row.call);
        }
    static constexpr Row k_unknown[] = {allow("opnat", "mistyped")};
    cr_assert(!Filter::make({k_unknown}, OnViolation::kill).has_value());
}

Test(foreign, rows_may_repeat_but_not_contradict) {
    static constexpr Row k_allowed_row[] = {allow("openat", "one")};
    static constexpr Row k_refused[] = {refuse("openat", EACCES, "another")};
    static constexpr Row k_some[] = {refuse("openat", EACCES, "a part", {is(0, 1)})};
    static constexpr Row k_others[] = {allow("openat", "the other part", {is(0, 2)})};
    const auto takes = [](std::span<const Row> one, std::span<const Row> other) {
        return Filter::make({one, other}, OnViolation::kill).has_value();
    };
    cr_assert(takes(k_allowed_row, k_allowed_row));
    cr_assert(takes(k_some, k_others));
    cr_assert(!takes(k_allowed_row, k_refused));
    cr_assert(!takes(k_refused, k_allowed_row));
    cr_assert(!takes(k_some, k_allowed_row));
    const auto program = compile({k_some, k_others}, Architecture::native);
    cr_assert(ask(program, Architecture::native, "openat", {1}) == (Answer{Verdict::error, EACCES}));
    cr_assert(ask(program, Architecture::native, "openat", {2}) == k_allowed);
    cr_assert(ask(program, Architecture::native, "openat", {3}) == k_killed);
}

Test(foreign, broken_programs_are_no_answer) {
    const auto run = [](std::vector<sock_filter> program) {
        return simulate(program, Architecture::native, Call{}).has_value();
    };
    cr_assert(!run({}));
    cr_assert(run({{BPF_RET | BPF_K, 0, 0, 0}}));
    cr_assert(!run({{BPF_LD | BPF_W | BPF_ABS, 0, 0, 64}, {BPF_RET | BPF_K, 0, 0, 0}}));
    cr_assert(!run({{BPF_LD | BPF_W | BPF_ABS, 0, 0, 2}, {BPF_RET | BPF_K, 0, 0, 0}}));
    cr_assert(!run({{BPF_LD | BPF_W | BPF_IND, 0, 0, 0}, {BPF_RET | BPF_K, 0, 0, 0}}));
    cr_assert(!run({{BPF_JMP | BPF_JA, 0, 0, 5}, {BPF_RET | BPF_K, 0, 0, 0}}));
}
