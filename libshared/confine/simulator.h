// SPDX-License-Identifier: LGPL-2.1-or-later
// simulator - what a filter would answer to a system call, without making it.
//
// Checks the filters of architectures that are not at hand, and shows a filter (`virtgate sandbox`). It runs
// the program that the kernel would get, not the rows that this was made from.
#pragma once

#include <linux/filter.h>

#include <array>
#include <cstdint>
#include <span>

#include "libshared/confine/filter.h"

namespace virtgate::confine {

// One system call as a filter sees it.
struct Call {
    std::uint32_t audit = 0;  // audit_number() of the ABI through which it is made
    int number = 0;
    std::array<std::uint64_t, 6> arguments{};
};

enum class Verdict : unsigned char { allowed, error, trapped, logged, killed, other };

struct Answer {
    Verdict verdict = Verdict::other;
    int error = 0;  // errno, for Verdict::error
    bool operator==(const Answer&) const = default;
};

// Runs `program`, which is for the processor `architecture` (that decides in which half of an argument's
// eight bytes its upper half lies). Source: seccomp(2), struct seccomp_data; bpf of Linux:
// Documentation/networking/filter.rst.
// Error: system's fault, for a program that the kernel would refuse too.
Result<Answer> simulate(std::span<const sock_filter> program, Architecture architecture, const Call& call);

}  // namespace virtgate::confine
