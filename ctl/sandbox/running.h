// SPDX-License-Identifier: LGPL-2.1-or-later
// running - the processes of virtgate that run on this machine, and what the kernel says of them.
//
// Trust:  a process of ours is known by its executable, where that can be read (by root), else by the name that it gives
//         itself, and anybody can call himself that. All other facts are the kernel's.
// Limits: where /proc is mounted with hidepid, others' processes are not there.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "libshared/confine/check.h"

namespace virtgate::ctl::sandbox {

struct Running {
    pid_t pid = -1;
    std::string name;  // "gate-0"; escaped (libshared/base/bytes.h)
    confine::Status status;

    // It has a filter of system calls, and nothing that it executes gives it more rights.
    [[nodiscard]] bool is_confined() const noexcept;
};

// What a process of ours with the first word `title` on its command line calls itself: "gate-0" of "virtgate: gate-0",
// "netd" of "/usr/libexec/virtgate/virtgate-netd". Empty if it is none of ours, as is the command virtgate itself.
[[nodiscard]] std::string name_in(std::string_view title);

// By number. Error: system's fault, if there is no /proc.
Result<std::vector<Running>> find_running();

}  // namespace virtgate::ctl::sandbox
