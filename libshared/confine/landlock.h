// SPDX-License-Identifier: LGPL-2.1-or-later
// landlock - which files a process can still name, and whom it can still reach without one.
//
// Trust:  holds against the process itself and its children, whatever user they are. Descriptors that are
//         open already keep their rights.
// Limits: connect(2) to a UNIX socket that has a name in the file system is not covered (up to ABI 7): who
//         must not do that may not have socket(2). Belongs to the calling thread and those that it starts, so
//         it comes before the second one. At most 16 times in a line of processes.
//
// Source: landlock(7); ABI 1 Linux 5.13, 2 5.19 (renaming between directories), 3 6.2 (truncating), 4 6.7
//         (TCP), 5 6.10 (ioctl of devices), 6 6.12 (signals, abstract sockets), 7 6.15 (audit).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libshared/confine/report.h"

namespace virtgate::confine {

// What may be done with a file, or with all that is beneath a directory.
enum class PathAccess : unsigned char {
    read,     // read files, list directories
    execute,  // the same and execute; for who starts processes
    write,    // read, write and truncate what is there
    create,   // the same; also make and remove regular files
    listen,   // the same; also make UNIX sockets
    grow,     // as create; also make and remove directories
};

struct PathRule {
    std::string path;  // absolute; has to be there
    PathAccess access = PathAccess::read;
};

// What stays possible. A rule set without anything in it leaves nothing.
struct LandlockRules {
    std::vector<PathRule> paths;
    bool tcp = false;                            // bind and connect TCP sockets
    std::vector<std::uint16_t> connect_ports{};  // or only connect them, to these ports of whatever host
    bool signals = false;                        // signal processes outside (children are inside)
    bool abstract_sockets = false;               // connect to abstract UNIX sockets from outside

    // Adds a rule for `path`, if there is such a file now: what is optional, or has other places on other systems.
    void add_if_there(const std::string& path, PathAccess access);

    // Adds rules for the directory in which `file` is, and for that of the file itself if the name is a symbolic link:
    // a file that is replaced, or not there yet, is another file. Nothing for an empty name, or directories that are
    // not there.
    void add_parents_of(const std::string& file, PathAccess access);
};

// What the kernel is told to refuse where no rule allows it: bits of linux/landlock.h.
struct LandlockMask {
    std::uint64_t files = 0;
    std::uint64_t tcp = 0;
    std::uint64_t scope = 0;
    bool operator==(const LandlockMask&) const = default;
};

// The version of the kernel's Landlock; 0 if it has none, or if it is not switched on. Error: system's fault.
Result<int> find_landlock_abi();

// All that a kernel with `abi` can refuse and `rules` does not leave possible.
[[nodiscard]] LandlockMask mask_for(int abi, const LandlockRules& rules) noexcept;

// Puts the rules in force. no_new_privs has to be set. What the kernel's ABI does not cover is noted as
// lacking.
// Error: system's fault; also a path that is not there, and a second thread.
Done restrict_paths(const LandlockRules& rules, Report& report);

}  // namespace virtgate::confine
