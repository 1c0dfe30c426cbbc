// SPDX-License-Identifier: LGPL-2.1-or-later
// confine_filter - the filter of system calls, attacked from the inside.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

#include "libshared/base/fd.h"
#include "libshared/confine/check.h"
#include "libshared/confine/descriptors.h"
#include "libshared/confine/filter.h"
#include "libshared/confine/landlock.h"
#include "libshared/confine/limits.h"
#include "libshared/confine/memory.h"
#include "libshared/confine/privileges.h"
#include "libshared/confine/rows.h"
#include "libshared/confine/supervisor.h"
#include "libshared/confine/violations.h"
#include "tests/unit/confine_rig.h"

using namespace virtgate;
using namespace virtgate::confine;
using namespace virtgate::confine_test;

namespace {

constexpr Row k_own[] = {
    allow("socket", "the one family", {is(0, AF_UNIX), lacks(1, SOCK_NONBLOCK)}),
    refuse("openat", EACCES, "the C library does without"),
};

using Tables = std::initializer_list<std::span<const Row>>;

void load(Tables tables, OnViolation on_violation = OnViolation::kill) {
    auto report = modest();
    must(forbid_new_privileges(report));
    const auto filter = Filter::make(tables, on_violation);
    if (!filter) must(tl::unexpected<Error>(filter.error()));
    must(filter->load(report));
    if (!report.complete(Layer::filter)) _exit(k_wrong);
}

Ending attempt(bool with, const std::function<int()>& body) {
    return in_child([&] {
        if (with) load({runtime_rows(), channel_rows(), k_own});
        return body();
    });
}

int fork_once() {
    const pid_t pid = fork();
    if (pid == 0) _exit(0);
    return errno_of(pid);
}

int map_with(int protection, int flags) {
    return mmap(nullptr, 4096, protection, flags, -1, 0) == MAP_FAILED ? errno : 0;
}

int protect_as_code() {
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return k_wrong;
    return errno_of(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

// Makes every call of `body` in a second thread, which is there before the filter.
struct Other {
    std::atomic<bool> go{false};
    std::atomic<bool> done{false};
};

void* call_when_told(void* shared) {
    auto& other = *static_cast<Other*>(shared);
    while (!other.go) {
    }
    static_cast<void>(syscall(SYS_getppid));
    other.done = true;
    return nullptr;
}

// What an outer filter makes of the rest: everything is allowed, one call fails.
void install_outer(long number, int error) {
    sock_filter program[] = {
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, 0},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, static_cast<__u32>(number)},
        {BPF_RET | BPF_K, 0, 0, 0x00050000U | static_cast<__u32>(error)},
        {BPF_RET | BPF_K, 0, 0, 0x7fff0000U},
    };
    const sock_fprog all{4, program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, 2, &all, 0, 0) < 0)
        _exit(k_wrong);
}

}  // namespace

Test(filter, what_no_row_allows_ends_the_process) {
    const std::pair<const char*, std::function<int()>> rows[] = {
        {"socket, family", [] { return errno_of(socket(AF_INET, SOCK_STREAM, 0)); }},
        {"socket, second argument", [] { return errno_of(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)); }},
        {"socketpair",
         [] {
             int ends[2];
             return errno_of(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
         }},
        {"fork", fork_once},
        {"execve",
         [] {
             execl("/bin/true", "true", nullptr);
             return errno;
         }},
        {"stat", [] { return errno_of(access("/", R_OK)); }},
        {"dup", [] { return errno_of(dup(0)); }},
        {"kill", [] { return errno_of(kill(getpid(), 0)); }},
        {"prctl", [] { return errno_of(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)); }},
        {"memfd", [] { return errno_of(memfd_create("m", 0)); }},
        {"mprotect of code", protect_as_code},
        {"mmap of code", [] { return map_with(PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS); }},
        {"mmap over what is there",
         [] {
             void* page = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
             return mmap(page, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED
                        ? errno
                        : 0;
         }},
        {"sendto somewhere",
         [] {
             auto pair = make_channel_pair();
             if (!pair) return 0;  // never here: the filter has no socketpair
             return errno_of(syscall(SYS_sendto, pair->first.get(), "x", 1, 0, "", 0));
         }},
    };
    for (const auto& [name, body] : rows) {
        const auto without = attempt(false, body);
        cr_assert(without == 0, "%s without: %s", name, describe(without).c_str());
        const auto with = attempt(true, body);
        cr_assert_eq(with.signal, SIGSYS, "%s with: %s", name, describe(with).c_str());
    }
}

Test(filter, arguments_decide) {
    expect_ending(attempt(true, [] { return errno_of(socket(AF_UNIX, SOCK_STREAM, 0)); }), 0);
    expect_ending(attempt(true, [] { return map_with(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS); }),
                  0);
    const auto send = [](const char* to) {
        auto pair = make_channel_pair();
        return in_child([&] {
            load({runtime_rows(), channel_rows()});
            return errno_of(syscall(SYS_sendto, pair->first.get(), "x", 1, 0, to, 0));
        });
    };
    expect_ending(send(nullptr), 0);
    expect_signal(send("somewhere"), SIGSYS);
}

Test(filter, a_refused_call_fails_and_the_process_lives) {
    const auto look = [] { return errno_of(open("/dev/null", O_RDONLY)); };
    expect_ending(attempt(false, look), 0);
    expect_ending(attempt(true, look), EACCES);
}

Test(filter, malloc_and_the_end_work) {
    expect_ending(attempt(true,
                          [] {
                              std::vector<std::string> much;
                              for (int i = 0; i < 200; ++i)
                                  much.emplace_back(static_cast<std::size_t>(i) * 4096, 'x');
                              much.clear();
                              much.emplace_back(std::size_t{1} << 23U, 'y');
                              much[0].resize(std::size_t{1} << 24U);
                              return write(STDERR_FILENO, "said", 4) == 4 ? 7 : 0;
                          }),
                  7);
}

Test(filter, i386_calls_are_refused) {
#if defined(__x86_64__)
    const auto enter = [] {
        long result = 20;  // its getpid
        __asm__ volatile("int $0x80" : "+a"(result)::"memory", "r8", "r9", "r10", "r11");
        return result > 0 ? 0 : static_cast<int>(-result);
    };
    if (!(attempt(false, enter) == 0)) cr_skip_test("the kernel has no i386 calls");
    expect_signal(attempt(true, enter), SIGSYS);
#else
    cr_skip_test("only x86-64 has them");
#endif
}

Test(filter, holds_for_threads_that_were_there_before) {
    const auto run = [](bool with) {
        return in_child([&] {
            Other other;
            pthread_t thread{};
            if (pthread_create(&thread, nullptr, call_when_told, &other) != 0) return k_wrong;
            if (with) load({runtime_rows()});
            other.go = true;
            while (!other.done) {
            }
            return 0;
        });
    };
    expect_ending(run(false), 0);
    expect_signal(run(true), SIGSYS);
}

constexpr Row k_getsid[] = {allow("getsid", "no supervisor needs it")};

Test(filter, a_second_one_only_takes_away) {
    const auto run = [](bool second) {
        return in_child([&] {
            load({supervisor_rows()});
            if (second) load({runtime_rows(), channel_rows()});
            return errno_of(close_range(50, 60, 0));
        });
    };
    expect_ending(run(false), 0);
    expect_signal(run(true), SIGSYS);
    // What the first does not have does not come back.
    expect_signal(in_child([] {
                      load({supervisor_rows()});
                      load({runtime_rows(), k_getsid});
                      return errno_of(static_cast<int>(getsid(0)));
                  }),
                  SIGSYS);
}

Test(filter, takes_no_new_privileges_first) {
    expect_ending(in_child([] {
                      auto report = modest();
                      const auto filter = Filter::make({runtime_rows()}, OnViolation::kill);
                      return filter && !filter->load(report) && !report.complete(Layer::filter) ? 1 : 0;
                  }),
                  1);
}

Test(filter, violations_are_told_by_name) {
    const auto run = [](bool told) {
        return in_child([&] {
            if (told) must(tell_violations());
            load({runtime_rows()}, OnViolation::trap);
            return errno_of(syscall(SYS_dup3, 1, 2, 3));
        });
    };
    const auto silent = run(false);
    expect_signal(silent, SIGSYS);
    cr_assert_eq(silent.output.size(), 0U);
    const auto told = run(true);
    expect_signal(told, SIGSYS);
    const auto wanted = fmt::format("<3>system call violation: dup3 ({}) 0x1 0x2 0x3 ", SYS_dup3);
    cr_assert(told.output.starts_with(wanted), "%s", told.output.c_str());
}

// What a kernel without a feature, or a hostile outer filter, answers.
Test(fails_closed, a_step_that_fails_is_an_error_and_a_lack_is_known) {
    enum Outcome { fine, lacking, failed };
    const auto run = [](long number, int error, const std::function<Done(Report&)>& step, Layer layer,
                        Demand demand) {
        return in_child([&] {
            install_outer(number, error);
            Report report{demand};
            const auto done = step(report);
            if (!done) return static_cast<int>(failed);
            return static_cast<int>(report.complete(layer) ? fine : lacking);
        });
    };
    const auto files = [](Report& report) { return restrict_paths({}, report); };
    const auto privileges = [](Report& report) { return drop_capabilities({}, report); };
    const auto limit = [](Report& report) { return set_limits({}, report); };
    const auto code = [](Report& report) { return forbid_writable_code(report); };
    const auto filter = [](Report& report) -> Done {
        auto made = Filter::make({runtime_rows()}, OnViolation::kill);
        if (!made) return tl::unexpected<Error>(made.error());
        return made->load(report);
    };
    const struct {
        const char* name;
        long number;
        int error;
        std::function<Done(Report&)> step;
        Layer layer;
        Outcome best_effort, strict;
    } rows[] = {
        {"no Landlock", SYS_landlock_create_ruleset, ENOSYS, files, Layer::files, lacking, failed},
        {"Landlock is off", SYS_landlock_create_ruleset, EOPNOTSUPP, files, Layer::files, lacking, failed},
        {"Landlock is refused", SYS_landlock_create_ruleset, EPERM, files, Layer::files, failed, failed},
        {"Landlock fails", SYS_landlock_restrict_self, EPERM, files, Layer::files, failed, failed},
        // Who has none drops none.
        {"capset fails", SYS_capset, EPERM, privileges, Layer::capabilities, is_root() ? failed : fine,
         failed},
        {"prlimit fails", SYS_prlimit64, EPERM, limit, Layer::limits, failed, failed},
        {"no MDWE", SYS_prctl, EINVAL, code, Layer::writable_code, lacking, failed},
        {"MDWE is refused", SYS_prctl, EPERM, code, Layer::writable_code, failed, failed},
        {"seccomp fails", SYS_seccomp, EPERM, filter, Layer::filter, failed, failed},
    };
    for (const auto& row : rows) {
        const auto modest_end = run(row.number, row.error, row.step, row.layer, Demand::best_effort);
        cr_assert(modest_end == row.best_effort, "%s, best effort: %s", row.name,
                  describe(modest_end).c_str());
        const auto strict_end = run(row.number, row.error, row.step, row.layer, Demand::strict);
        cr_assert(strict_end == row.strict, "%s, strict: %s", row.name, describe(strict_end).c_str());
    }
}

// All steps in their order, as a process does them, with the self-check at the end; then one of them left
// out.
Test(whole, a_confined_process_passes_its_own_check_and_a_gap_is_found) {
    enum class Gap { none, filter, privileges, capabilities };
    const auto run = [](Gap gap) {
        return in_child([&] {
            auto report = modest();
            if (close_range(3, UINT_MAX, 0) != 0) return k_wrong;
            if (gap != Gap::capabilities) {
                must(drop_capabilities({}, report));
            }
            must(close_memory(report));
            if (gap != Gap::privileges) must(forbid_new_privileges(report));
            const auto filter = Filter::make({runtime_rows()}, OnViolation::kill);
            if (!filter) return k_wrong;
            auto self = open_self();
            if (!self) return k_wrong;
            if (gap != Gap::privileges) must(restrict_paths({}, report));
            Limits limits;
            limits.descriptors = 0;
            must(set_limits(limits, report));
            must(forbid_writable_code(report));
            if (gap != Gap::filter && gap != Gap::privileges) must(filter->load(report));
            const Meant meant{.uid = {},
                              .capabilities = 0,
                              .bounding_empty = report.complete(Layer::bounding_set),
                              .filters_min = 1};
            must(check_self(std::move(*self), meant));
            return 0;
        });
    };
    expect_ending(run(Gap::none), 0);
    const auto filter = run(Gap::filter);
    cr_assert(filter.output.find("no filter") != std::string::npos, "%s", describe(filter).c_str());
    const auto privileges = run(Gap::privileges);
    cr_assert(privileges.output.find("new privileges") != std::string::npos, "%s",
              describe(privileges).c_str());
    if (!is_root()) return;
    const auto capabilities = run(Gap::capabilities);
    cr_assert(capabilities.output.find("capabilities") != std::string::npos, "%s",
              describe(capabilities).c_str());
}
