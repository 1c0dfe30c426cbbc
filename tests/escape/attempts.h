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
    int number =
        0;  // an errno; 0: it succeeded; k_killed: by SIGSYS; k_any: the other layers say nothing about it
    bool operator==(const Ending&) const = default;
};

inline constexpr Ending k_allowed{0};
inline constexpr Ending k_killed{Ending::k_killed};
inline constexpr Ending k_any{Ending::k_any};

struct Attempt {
    std::string_view name;
    long (*make)();   // as a system call: negative with errno
    Ending filtered;  // with all layers
    Ending bare;      // without the filter
    std::optional<confine::Layer>
        layer{};  // that `bare` comes from; where the kernel lacks it, anything may happen
};

[[nodiscard]] std::span<const Attempt> attempts() noexcept;

// Where a process may do what others may not. What is not listed ends as in attempts().
struct Exception {
    std::string_view process, attempt;
    Ending filtered, bare;
};

[[nodiscard]] std::span<const Exception> exceptions() noexcept;

}  // namespace virtgate::escape
