// SPDX-License-Identifier: LGPL-2.1-or-later
// boot_clock - time that goes on while the machine sleeps: what a lease somewhere else is measured with.
//
// Limits: an Instant of this clock must not be compared with one of another.
// Source: clock_gettime(2), CLOCK_BOOTTIME.
#pragma once

#include <cstdint>

#include "libshared/base/clock.h"

namespace virtgate {

[[nodiscard]] const Clock& boot_clock() noexcept;

// The same moment as a number that all processes of this machine understand, until it boots again.
[[nodiscard]] std::uint64_t to_boot_ms(Instant instant) noexcept;
[[nodiscard]] Instant from_boot_ms(std::uint64_t ms) noexcept;

}  // namespace virtgate
