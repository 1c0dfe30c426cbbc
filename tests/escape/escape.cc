// SPDX-License-Identifier: LGPL-2.1-or-later
// escape - each attempt in each kind of process, with all layers and without the filter of system calls.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include "tests/escape/attempts.h"
#include "tests/escape/plans.h"

using namespace virtgate;
using namespace virtgate::escape;

namespace {

constexpr int k_not_set_up = 250, k_lacking = 251;
constexpr uid_t k_nobody = 65534;

void open_at(int fd, int number) {
    cr_assert(fd >= 0 && dup2(fd, number) == number);
    close(fd);
}

// A listener at `name`, which is the address' path; its first byte may be 0.
int listen_at(std::string_view name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path, sizeof address.sun_path - 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    cr_assert_eq(bind(fd, reinterpret_cast<const sockaddr*>(&address), address_size(name)), 0);
    cr_assert_eq(listen(fd, 128), 0);
    return fd;
}

// What others have outside, that everybody may reach who can name it. Of this process, whose tests run side by side.
void open_outside() {
    if (unlink(outside().socket) < 0) cr_assert_eq(errno, ENOENT);
    open_at(listen_at(outside().socket), 103);
    cr_assert_eq(chmod(outside().socket, 0777), 0);
    open_at(listen_at({outside().abstract, std::strlen(outside().abstract + 1) + 1}), 104);
    outside().memory = shmget(outside().key, 1, IPC_CREAT | 0666);
    cr_assert_geq(outside().memory, 0);
}

void close_outside() {
    unlink(outside().socket);
    shmctl(outside().memory, IPC_RMID, nullptr);
}

// What attempts.cc uses.
void open_descriptors() {
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    cr_assert_eq(listen(listener, 1), 0);
    open_at(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), 100);
    open_at(listener, 101);
    open_at(ends[0], 102);
    open_at(open("/", O_RDONLY | O_DIRECTORY), 105);
}

// The kernel has not all of it, or, where nobody may make namespaces, the service manager gave a part of it.
bool lacks(const confine::Report& report, confine::Layer layer) {
    if (layer == confine::Layer::limits) return false;  // they come later
    for (const auto& finding : report.findings())
        if (finding.layer == layer && finding.detail.starts_with("the service manager's")) return true;
    return !report.complete(layer);
}

// Runs in a child: becomes that process, makes the attempt. Ends with its errno.
[[noreturn]] void make(confine::Plan plan, const Attempt& attempt, bool filtered) {
    if (geteuid() == 0 && (setgid(k_nobody) < 0 || setuid(k_nobody) < 0)) _exit(k_not_set_up);
    // The descriptors are the test's; the limit of their number is not what is tried here.
    plan.descriptors.clear();
    plan.limits.descriptors.reset();
    // Standard output may be a file here.
    const int null = open("/dev/null", O_WRONLY);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    const confine::Limits limits = plan.limits;
    auto confinement = confine::Confinement::begin(std::move(plan), confine::Mode::best_effort);
    if (!confinement) _exit(k_not_set_up);
    if (!filtered && attempt.layer && lacks(confinement->report(), *attempt.layer)) _exit(k_lacking);
    confine::Report report(confine::Demand::best_effort);
    const Done ready = filtered ? confinement->serve() : confine::set_limits(limits, report);
    if (!ready) _exit(k_not_set_up);
    const long result = attempt.make();
    _exit(result < 0 ? errno : 0);
}

std::string describe(int status) {
    if (WIFSIGNALED(status)) return fmt::format("signal {}", WTERMSIG(status));
    if (WEXITSTATUS(status) == k_not_set_up) return "it could not be set up";
    if (WEXITSTATUS(status) == 0) return "allowed";
    return fmt::format("{} ({})", WEXITSTATUS(status), strerror(WEXITSTATUS(status)));
}

bool is_as_expected(int status, Ending wanted) {
    if (wanted == k_killed) return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
    if (!WIFEXITED(status) || WEXITSTATUS(status) == k_not_set_up)
        return wanted == k_any && WIFSIGNALED(status);
    if (wanted == k_nothing_there && (WEXITSTATUS(status) == ENOENT || WEXITSTATUS(status) == ESRCH))
        return true;
    return wanted == k_any || WEXITSTATUS(status) == k_lacking || WEXITSTATUS(status) == wanted.number;
}

int run(const confine::Plan& plan, const Attempt& attempt, bool filtered) {
    const pid_t pid = fork();
    if (pid == 0) make(plan, attempt, filtered);
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

// All attempts in the process of `plan`.
void attack(const confine::Plan& plan) {
#ifdef VIRTGATE_SANITIZERS
    cr_skip_test("a build with sanitizers is not confined");
#endif
    open_descriptors();
    open_outside();
    for (const Attempt& attempt : attempts()) {
        Ending filtered = attempt.filtered, bare = attempt.bare;
        for (const Exception& exception : exceptions()) {
            if (exception.process != plan.process || exception.attempt != attempt.name) continue;
            filtered = exception.filtered;
            bare = exception.bare;
        }
        for (const bool with_filter : {true, false}) {
            const int status = run(plan, attempt, with_filter);
            cr_expect(is_as_expected(status, with_filter ? filtered : bare), "%s, %s, %s: %s",
                      std::string(plan.process).c_str(), std::string(attempt.name).c_str(),
                      with_filter ? "all layers" : "no filter", describe(status).c_str());
        }
    }
    close_outside();
}

// One by one, so that the name of the test says where something went wrong.
void attack(std::string_view process) {
    for (const confine::Plan& plan : make_plans())
        if (plan.process == process) return attack(plan);
    cr_assert_fail("there is no such process");
}

}  // namespace

Test(escape, from_a_gate) { attack("gate"); }
Test(escape, from_a_keeper) { attack("keeper"); }
Test(escape, from_doorman) { attack("doorman"); }
Test(escape, from_sasl) { attack("sasl"); }
Test(escape, from_an_exchange) { attack("exchange"); }
Test(escape, from_the_announcer) { attack("announcer"); }
Test(escape, from_the_steward) { attack("steward"); }
Test(escape, from_the_exporter) { attack("exporter"); }
Test(escape, from_a_worker) { attack("worker"); }
Test(escape, from_the_auditor) { attack("auditor"); }
Test(escape, from_the_store) { attack("store"); }
Test(escape, from_a_program_of_others) { attack("program"); }
Test(escape, from_a_program_of_others_with_files) { attack("program with files"); }
Test(escape, from_the_locker) { attack("locker"); }
Test(escape, from_the_policy_compiler) { attack("policy compiler"); }

// Every exception is about something that is there, or it hides nothing.
Test(escape, exceptions_have_their_attempts) {
    for (const Exception& exception : exceptions()) {
        bool found = false;
        for (const Attempt& attempt : attempts()) found = found || attempt.name == exception.attempt;
        cr_expect(found, "there is no attempt %s", std::string(exception.attempt).c_str());
    }
}
