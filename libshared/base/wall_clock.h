// SPDX-License-Identifier: LGPL-2.1-or-later
// wall_clock - whether the date of this machine can be right.
//
// Only dates of certificates and of policies are compared with it, and what is written for people; deadlines have a
// clock of their own (libshared/base/clock.h), which nobody sets.
//
// Limits: a clock that is late is found out where it is before this source was released, one that is early never.
#pragma once

#include <ctime>
#include <string>

namespace virtgate {

// 2026-11-22 00:00 UTC, of the release: no clock that is right is before that. Raised with the version.
inline constexpr std::time_t k_released = 1'795'305'600;

// "2026-11-22 00:00 UTC"
[[nodiscard]] std::string to_date(std::time_t when);

// For who finds that something begins after `now`: what the clock says, and whether that can be. It is one of
//   "the clock of this machine says 1970-01-01 00:03 UTC, which is wrong: virtgate is from 2026-11-22 00:00 UTC; set it (timedatectl)"
//   "the clock of this machine says 2026-12-01 10:00 UTC; if that is wrong, set it (timedatectl)"
[[nodiscard]] std::string judge_clock(std::time_t now);

}  // namespace virtgate
