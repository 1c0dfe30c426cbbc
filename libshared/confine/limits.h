// SPDX-License-Identifier: LGPL-2.1-or-later
// limits - what a process may use up, by setrlimit(2).
//
// Limits: they hold for the whole process and its children. Root passes over `processes`.
#pragma once

#include <cstdint>
#include <optional>

#include "libshared/confine/report.h"

namespace virtgate::confine {

// What is empty stays as it was. Soft and hard limit become the same, so that no way leads up again.
struct Limits {
    // Descriptor numbers from this one on cannot be had. 0 is right for who never gets another one; it is the
    // last step but the filter then, since the others open files.
    std::optional<std::uint64_t> descriptors{};
    // Processes and threads of this user, counted over the machine: with 0 this process starts none.
    std::optional<std::uint64_t> processes = 0;
    // Bytes in a file. With 0 the first write to any regular file ends the process (SIGXFSZ), a memory file
    // too.
    std::optional<std::uint64_t> file_size = 0;
    std::optional<std::uint64_t> core = 0;           // bytes of a core file: it would hold what is in memory
    std::optional<std::uint64_t> address_space{};    // bytes of all mappings
    std::optional<std::uint64_t> locked_memory = 0;  // bytes kept from being swapped out
    std::optional<std::uint64_t> queues = 0;         // bytes in POSIX message queues
};

// Sets the limits; a hard limit that is lower already stays. Each is read back.
// Error: system's fault. So it is if `file_size` is 0 and standard output or error is a regular file: the
// process would be killed by its first log line.
Done set_limits(const Limits& limits, Report& report);

}  // namespace virtgate::confine
