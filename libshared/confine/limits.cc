// SPDX-License-Identifier: LGPL-2.1-or-later
// limits - what a process may use up.
#include "libshared/confine/limits.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace virtgate::confine {

namespace {

Done set_one(__rlimit_resource which, const char* name, std::optional<std::uint64_t> value) {
    if (!value) return {};
    rlimit now{};
    if (getrlimit(which, &now) < 0) return system_fault(errno, fmt::format("cannot read {}", name));
    // A lower limit that somebody set before us (systemd, a shell) is not ours to raise, even if we could.
    const rlim_t wanted = std::min<rlim_t>(*value, now.rlim_max);
    const rlimit next{wanted, wanted};
    rlimit after{};
    if (setrlimit(which, &next) < 0 || getrlimit(which, &after) < 0)
        return system_fault(errno, fmt::format("cannot set {} to {}", name, wanted));
    if (after.rlim_cur != wanted || after.rlim_max != wanted)
        return system_fault(0, fmt::format("{} did not become {}", name, wanted));
    return {};
}

Done refuse_log_files() {
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
        struct stat about {};
        if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode))
            return system_fault(
                0, fmt::format("descriptor {} is a regular file, which a process that may write no "
                               "files cannot log to; use a pipe",
                               fd));
    }
    return {};
}

}  // namespace

Done set_limits(const Limits& limits, Report& report) {
    const struct {
        __rlimit_resource which;
        const char* name;
        std::optional<std::uint64_t> value;
    } rows[] = {
        {RLIMIT_NOFILE, "RLIMIT_NOFILE", limits.descriptors},
        {RLIMIT_NPROC, "RLIMIT_NPROC", limits.processes},
        {RLIMIT_FSIZE, "RLIMIT_FSIZE", limits.file_size},
        {RLIMIT_CORE, "RLIMIT_CORE", limits.core},
        {RLIMIT_AS, "RLIMIT_AS", limits.address_space},
        {RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK", limits.locked_memory},
        {RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE", limits.queues},
    };
    if (limits.file_size && *limits.file_size == 0) {
        if (auto done = refuse_log_files(); !done) return done;
    }
    for (const auto& row : rows)
        if (auto done = set_one(row.which, row.name, row.value); !done) return done;
    report.note_in_force(Layer::limits);
    return {};
}

}  // namespace virtgate::confine
