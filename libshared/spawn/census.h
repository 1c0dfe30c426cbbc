// SPDX-License-Identifier: LGPL-2.1-or-later
// census - the processes that this one has started with wards, by kind, and what they use.
//
// Their CPU time and memory are read from /proc. The files are opened when a process has just begun: later it may hide what is
// there. Where they cannot be opened at all, as under a supervisor that may not read /proc, that part is absent.
//
// Trust:  the kernel's word. Kinds are the first word of a ward's name ("gate-0", "worker-alice"), which are ours.
// Limits: as many kinds as there are programs; two descriptors for each process.
// Owns:   these descriptors. One for each supervisor: wards are of one thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "libshared/base/fd.h"

namespace virtgate::spawn {

class Census {
public:
    // Of all processes of a kind.
    struct Kind {
        std::uint64_t starts = 0, crashes = 0;
        std::uint64_t running = 0;
        std::uint64_t cpu = 0;          // ms, of those that have ended, too
        std::uint64_t memory = 0;       // bytes, resident
        std::uint64_t descriptors = 0;  // open
        bool has_usage = false;         // the last three; descriptors can be 0 all the same, before Linux 6.2
    };

    // The one that wards tell.
    [[nodiscard]] static Census& of_this_process() noexcept;

    void begin(std::string_view name, pid_t pid);
    // Before it is reaped.
    void end(std::string_view name, pid_t pid) noexcept;
    // It ended by a signal, or with an error, and nobody had asked for that.
    void note_crash(std::string_view name);
    // This process itself, as a kind of its own.
    void add_self(std::string_view kind) { self_ = kind; }

    // What there is now.
    [[nodiscard]] std::map<std::string, Kind, std::less<>> count() const;

private:
    struct Member {
        std::string kind;
        UniqueFd status, descriptors;
    };
    std::map<pid_t, Member> members_;
    std::map<std::string, Kind, std::less<>> kinds_;  // without what runs now
    std::string self_;
};

}  // namespace virtgate::spawn
