// SPDX-License-Identifier: LGPL-2.1-or-later
// child - start another program of ours with exactly the descriptors it should have.
//
// Everything that allocates happens before fork(). The child then makes system calls only, reports the first
// that fails through a pipe that exec() closes, and never returns.
#include "libshared/spawn/child.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string_view>

#include "config.h"
#include "libshared/base/path_fault.h"
#include "libshared/fdmap.h"
#include "libshared/spawn/listen_fds.h"

namespace virtgate::spawn {

namespace {

// What the child was doing when it failed, as it reports it to its parent.
enum class Step : int { user, parent, privileges, descriptors, exec };

struct Failure {
    Step step;
    int number;
};

// All that the child needs, made before the fork.
struct Plan {
    const char* path;
    char* const* arguments;
    char* const* environment;
    const std::vector<UniqueFd>& sources;  // descriptor i of the child is a copy of sources[i]
    int report;
    pid_t parent;
    const User* user;
    bool keeps_capabilities;
    char* own_pid;  // where the child writes its pid, k_pid_digits long; null: nowhere
};

// As many as any pid has: pid_max is at most 2^22.
constexpr std::size_t k_pid_digits = 10;
constexpr std::size_t k_pid_name = sizeof "LISTEN_PID=" - 1;

const char* to_text(Step step) noexcept {
    switch (step) {
        case Step::user: return "switching the user";
        case Step::parent: return "tying it to its parent";
        case Step::privileges: return "giving up privileges";
        case Step::descriptors: return "arranging descriptors";
        case Step::exec: return "executing it";
    }
    return "starting";
}

[[noreturn]] void fail(int report, Step step, int number) noexcept {
    const Failure failure{step, number};
    static_cast<void>(!write(report, &failure, sizeof failure));
    _exit(127);
}

// The parent's handlers must not run in the child: they write to descriptors that both share.
void reset_signals() noexcept {
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; ++number)
        sigaction(number, &standard, nullptr);  // fails for SIGKILL and the like, which have no handler
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Best effort: it takes root, and the child looks at what it has (libshared/confine/privileges.h).
void drop_bounding_set() noexcept {
    for (unsigned long one = 0; prctl(PR_CAPBSET_READ, one, 0, 0, 0) >= 0; ++one)
        if (prctl(PR_CAPBSET_DROP, one, 0, 0, 0) < 0) return;
}

// Its pid nobody knows before it is there.
void write_pid(char* digits) noexcept {
    const auto pid = static_cast<unsigned>(getpid());
    std::size_t size = 1;
    for (unsigned rest = pid; rest >= 10; rest /= 10) ++size;
    digits[size] = '\0';
    for (unsigned rest = pid; size-- > 0; rest /= 10) digits[size] = static_cast<char>('0' + rest % 10);
}

// Runs in the child; only async-signal-safe calls.
[[noreturn]] void become(const Plan& plan) noexcept {
    reset_signals();
    setsid();
    if (!plan.keeps_capabilities) drop_bounding_set();
    if (plan.user != nullptr)
        if (const int number = switch_user(*plan.user); number != 0) fail(plan.report, Step::user, number);
    // After the switch, since a change of the user forgets the setting.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) fail(plan.report, Step::parent, errno);
    if (getppid() != plan.parent) fail(plan.report, Step::parent, ESRCH);  // it ended before the line above
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) fail(plan.report, Step::privileges, errno);

    // Every source lies above the targets, so none is overwritten before it is copied.
    int target = 0;
    for (const UniqueFd& source : plan.sources)
        if (dup2(source.get(), target++) < 0) fail(plan.report, Step::descriptors, errno);
    if (dup3(plan.report, target, O_CLOEXEC) < 0) fail(plan.report, Step::descriptors, errno);
    if (syscall(SYS_close_range, static_cast<unsigned>(target) + 1, ~0U, 0U) < 0)
        fail(target, Step::descriptors, errno);
    if (plan.own_pid != nullptr) write_pid(plan.own_pid);
    execve(plan.path, plan.arguments, plan.environment);
    fail(target, Step::exec, errno);
}

struct Pipe {
    UniqueFd read, write;
};

Result<Pipe> make_pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return system_fault(errno, "cannot make a pipe");
    return Pipe{UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

std::vector<std::string> make_environment(std::vector<std::string> given) {
#ifdef VIRTGATE_SANITIZERS
    constexpr const char* k_inherited[] = {"TZ", "ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS"};
#else
    constexpr const char* k_inherited[] = {"TZ"};
#endif
    for (const char* name : k_inherited)
        if (const char* value = getenv(name)) given.push_back(fmt::format("{}={}", name, value));
    return given;
}

// What tells a daemon of the descriptors that it was given; LISTEN_PID comes last and is filled in by the child.
// Error: system's fault, if their names do not fit.
Done add_listen_variables(const std::vector<ListenFd>& listen, std::vector<std::string>& environment) {
    if (listen.empty()) return {};
    std::string names;
    for (const ListenFd& one : listen) {
        if (!names.empty()) names += ':';
        names += one.name;
    }
    if (names.size() > k_listen_names_max)
        return system_fault(0, fmt::format("the names of {} descriptors are too long", listen.size()));
    environment.push_back(fmt::format("LISTEN_FDS={}", listen.size()));
    environment.push_back("LISTEN_FDNAMES=" + names);
    environment.push_back("LISTEN_PID=" + std::string(k_pid_digits, '0'));
    return {};
}

// The form that execve() wants. The pointers are as good as `texts`.
std::vector<char*> make_vector(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (std::string& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

// A copy of `fd` whose number is above everything that the child will use.
Result<UniqueFd> copy_above(int fd, std::size_t targets) {
    UniqueFd copy{fcntl(fd, F_DUPFD_CLOEXEC, static_cast<int>(targets) + 1)};
    if (!copy) return system_fault(errno, "cannot copy a descriptor");
    return copy;
}

// Forks with all signals blocked, so that no handler of the parent runs in the child. Returns in the parent
// only.
Result<pid_t> fork_child(const Plan& plan) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t pid = fork();
    if (pid == 0) become(plan);
    const int number = errno;
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (pid < 0) {
        auto error = system_fault(number, "cannot make a process");
        error.value().text += advice_for(number);
        return error;
    }
    return pid;
}

// Waits until exec() closed the pipe, or the child said why it failed.
Done await_exec(int report, pid_t pid) {
    Failure failure{};
    ssize_t n;
    do {
        n = read(report, &failure, sizeof failure);
    } while (n < 0 && errno == EINTR);
    if (n == 0) return {};
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    if (n != sizeof failure) return system_fault(0, "it ended before it could be executed");
    return system_fault(failure.number, to_text(failure.step));
}

// Both sides of what parent and child share.
struct Ends {
    std::vector<UniqueFd> sources;  // see Plan
    UniqueFd report_to_parent, report;
    Child child;  // without pid and process
};

Result<Ends> make_ends(const Launch& launch) {
    const UniqueFd null{open("/dev/null", O_RDWR | O_CLOEXEC)};
    if (!null) return system_fault(errno, "cannot open /dev/null");
    auto log = make_pipe();
    auto report = make_pipe();
    if (!log || !report) return tl::unexpected(log ? report.error() : log.error());

    Ends ends;
    UniqueFd config, control;
    if (launch.config) {
        auto file = make_sealed_memfd("virtgate-config", launch.config->data(), launch.config->size());
        if (!file) return tl::unexpected(file.error());
        config = std::move(*file);
    }
    if (launch.control) {
        auto pair = make_channel_pair();
        if (!pair) return tl::unexpected(pair.error());
        ends.child.control = std::move(pair->first);
        control = std::move(pair->second);
    }
    const int log_end = log->write.get();
    std::vector<int> fds{null.get(), log_end, log_end};
    if (launch.listen.empty()) {
        fds.push_back(config ? config.get() : null.get());
        fds.push_back(control ? control.get() : null.get());
        for (const UniqueFd& fd : launch.extra) fds.push_back(fd.get());
        require(fds.size() == fdmap::k_first_extra + launch.extra.size(), "the descriptor map does not fit");
    } else {
        require(!launch.config && !launch.control && launch.extra.empty(),
                "a daemon with a child's descriptors");
        for (const ListenFd& one : launch.listen) fds.push_back(one.fd);
    }

    for (const int fd : fds) {
        auto copy = copy_above(fd, fds.size());
        if (!copy) return tl::unexpected(copy.error());
        ends.sources.push_back(std::move(*copy));
    }
    auto copy = copy_above(report->write.get(), fds.size());
    if (!copy) return tl::unexpected(copy.error());
    ends.report_to_parent = std::move(*copy);
    ends.report = std::move(report->read);
    ends.child.log = std::move(log->read);
    if (auto done = set_nonblocking(ends.child.log.get(), true); !done) return tl::unexpected(done.error());
    return ends;
}

}  // namespace

Result<Child> start(Launch launch) {
    const std::string what = "cannot start " + launch.path;
    auto ends = make_ends(launch);
    if (!ends) return wrap(std::move(ends.error()), what);
    launch.arguments.insert(launch.arguments.begin(), "virtgate: " + launch.name);
    std::vector<std::string> environment = make_environment(std::move(launch.environment));
    if (auto done = add_listen_variables(launch.listen, environment); !done)
        return wrap(std::move(done.error()), what);
    const std::vector<char*> argv = make_vector(launch.arguments);
    const std::vector<char*> envp = make_vector(environment);
    const Plan plan{.path = launch.path.c_str(),
                    .arguments = argv.data(),
                    .environment = envp.data(),
                    .sources = ends->sources,
                    .report = ends->report_to_parent.get(),
                    .parent = getpid(),
                    .user = launch.user ? &*launch.user : nullptr,
                    .keeps_capabilities = launch.keeps_capabilities,
                    .own_pid = launch.listen.empty() ? nullptr : envp[environment.size() - 1] + k_pid_name};
    const auto pid = fork_child(plan);
    if (!pid) return wrap(pid.error(), what);
    ends->report_to_parent.reset();
    if (auto done = await_exec(ends->report.get(), *pid); !done) return wrap(std::move(done.error()), what);
    ends->child.pid = *pid;
    ends->child.process = UniqueFd{static_cast<int>(syscall(SYS_pidfd_open, *pid, 0))};  // is close-on-exec
    if (!ends->child.process) {
        const int number = errno;
        kill(*pid, SIGKILL);
        while (waitpid(*pid, nullptr, 0) < 0 && errno == EINTR) {
        }
        return system_fault(number, what + ": cannot watch it");
    }
    return std::move(ends->child);
}

}  // namespace virtgate::spawn
