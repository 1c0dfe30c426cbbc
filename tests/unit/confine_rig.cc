// SPDX-License-Identifier: LGPL-2.1-or-later
// confine_rig - what the tests of the confinement have in common.
#include "tests/unit/confine_rig.h"

#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "libshared/base/fd.h"

namespace virtgate::confine_test {

Ending in_child(const std::function<int()>& body) {
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    UniqueFd reading{ends[0]};
    UniqueFd writing{ends[1]};
    const pid_t pid = fork();
    cr_assert_neq(pid, -1);
    if (pid == 0) {
        dup2(writing.get(), STDOUT_FILENO);
        dup2(writing.get(), STDERR_FILENO);
        writing.reset();
        reading.reset();
        _exit(body());
    }
    writing.reset();
    Ending ending;
    char buffer[512];
    for (ssize_t n; (n = read(reading.get(), buffer, sizeof buffer)) > 0;)
        ending.output.append(buffer, static_cast<std::size_t>(n));
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        ending.signal = WTERMSIG(status);
    else
        ending.status = WEXITSTATUS(status);
    return ending;
}

std::string describe(const Ending& ending) {
    return fmt::format("{} {}: {}", ending.signal != 0 ? "signal" : "status",
                       ending.signal != 0 ? ending.signal : ending.status, ending.output);
}

int errno_of(long result) { return result < 0 ? errno : 0; }

void must(const Done& done) {
    if (done) return;
    static_cast<void>(!write(STDERR_FILENO, done.error().text.data(), done.error().text.size()));
    _exit(k_not_set_up);
}

void become_nobody() {
    constexpr uid_t k_nobody = 65534;
    if (geteuid() != 0) return;
    if (setresgid(k_nobody, k_nobody, k_nobody) != 0 || setresuid(k_nobody, k_nobody, k_nobody) != 0)
        _exit(k_wrong);
}

bool is_root() { return geteuid() == 0; }

confine::Report modest() { return confine::Report{confine::Demand::best_effort}; }

}  // namespace virtgate::confine_test
