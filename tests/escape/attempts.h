// SPDX-License-Identifier: LGPL-2.1-or-later
// attempts - what somebody does who has taken over a process, one system call each.
//
// Each attempt is made twice in each kind of process: with all layers of the confinement, and without the filter of
// system calls. Both results are expected ones: a layer that goes missing is seen although the other one still holds.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "libshared/confine/report.h"

namespace virtgate::escape {

// How an attempt ends.
struct Ending {
    static constexpr int k_killed = -1;
    static constexpr int k_any = -2;
    static constexpr int k_nothing_there = -3;
    // An errno; 0: it succeeded; k_killed: by SIGSYS; k_any: the other layers say nothing about it; k_nothing_there: the
    // directory is that of a process which has ended, for which older kernels say ENOENT and newer ones ESRCH.
    int number = 0;
    bool operator==(const Ending&) const = default;
};

inline constexpr Ending k_allowed{0};
inline constexpr Ending k_killed{Ending::k_killed};
inline constexpr Ending k_any{Ending::k_any};
inline constexpr Ending k_nothing_there{Ending::k_nothing_there};

struct Attempt {
    std::string_view name;
    long (*make)();   // as a system call: negative with errno
    Ending filtered;  // with all layers
    Ending bare;      // without the filter
    std::optional<confine::Layer>
        layer{};  // that `bare` comes from; where the kernel lacks it, anything may happen
};

[[nodiscard]] std::span<const Attempt> attempts() noexcept;

// What is there outside of the process, for each test its own: it bears the number of the test's process.
struct Outside {
    char socket[64];    // the path of a UNIX socket that listens
    char abstract[64];  // a name of one, with a 0 in front and one behind
    int key;            // of shared memory
    int memory = -1;
};

// Made at the first call, before anybody is forked.
[[nodiscard]] Outside& outside() noexcept;

// Of an address of a UNIX socket with that path.
[[nodiscard]] unsigned address_size(std::string_view path) noexcept;

// Where a process may do what others may not. What is not listed ends as in attempts().
struct Exception {
    std::string_view process, attempt;
    Ending filtered, bare;
};

[[nodiscard]] std::span<const Exception> exceptions() noexcept;

}  // namespace virtgate::escape
