// SPDX-License-Identifier: LGPL-2.1-or-later
// check - the last step before a process serves: does the kernel see it as we meant it to be?
//
// A step that succeeds and yet does nothing (another thread, a changed order, a forgotten call) is found
// here. What the steps believe plays no part: the facts are the kernel's.
//
// Order: open_self() before Landlock and the filter, which keep /proc away; check_descriptors() of
//        descriptors.h last before the filter that serves; check_self() after it, which takes read(2) and
//        close(2) alone.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "libshared/base/fd.h"
#include "libshared/confine/report.h"

namespace virtgate::confine {

// What /proc/PID/status says. Source: proc_pid_status(5).
struct Status {
    std::array<std::uint64_t, 4> uids{};  // real, effective, saved, file system
    std::array<std::uint64_t, 4> gids{};
    std::uint64_t threads = 0;
    std::uint64_t inheritable = 0, permitted = 0, effective = 0, bounding = 0,
                  ambient = 0;  // capabilities, as bits
    std::uint64_t no_new_privileges = 0;
    std::uint64_t seccomp_mode = 0;  // 0 none, 2 filters
    std::uint64_t filters = 0;       // how many; 0 where the kernel does not tell (before 5.9)
};

// What has to be so.
struct Meant {
    std::optional<std::uint64_t> uid;  // all four; empty: whoever
    std::uint64_t capabilities = 0;    // bits that may be permitted and effective
    std::uint64_t passed_on = 0;       // bits that may be inheritable and ambient
    bool bounding_empty = false;       // where Report says that the bounding set is in force
    std::uint64_t filters_min = 1;     // filters of ours; an outer one (systemd's) only adds to them
};

// Reads the text of a status file. Error: system's fault, if a line is missing or has another form.
Result<Status> parse_status(std::string_view text);

// Error: system's fault that names every difference. no_new_privs and a filter are always meant.
Done compare(const Status& status, const Meant& meant);

// Opens /proc/self/status; the text is made at the time of reading. Error: system's fault.
Result<UniqueFd> open_self();

// Reads `self` (of open_self(), closed at the end) and compares. Error: system's fault: the process may not
// serve.
Done check_self(UniqueFd self, const Meant& meant);

}  // namespace virtgate::confine
