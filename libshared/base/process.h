// SPDX-License-Identifier: LGPL-2.1-or-later
// process - facts about processes that only /proc has.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace virtgate {

// When the process `pid` started, in clock ticks since boot; 0 if that cannot be found out. A number may be used
// again: only a start time that is read while the process certainly lives means that process.
// Source: proc(5), field 22 of /proc/PID/stat.
[[nodiscard]] std::uint64_t read_start_time(pid_t pid) noexcept;

// For people: "libvirtd (pid 4711)", or "pid 4711" if its name cannot be found out.
[[nodiscard]] std::string name_process(pid_t pid);

}  // namespace virtgate
