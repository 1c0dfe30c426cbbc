// SPDX-License-Identifier: LGPL-2.1-or-later
// lifetime - dates and spans of time in words.
#pragma once

#include <ctime>
#include <string>

namespace virtgate::ctl::pki {

inline constexpr std::time_t k_day = 24 * 60 * 60;

// What ends within this many seconds is worth a warning.
inline constexpr std::time_t k_soon = 30 * k_day;

// The clocks of two machines may differ by a little: what is made now is valid from this many seconds ago.
inline constexpr std::time_t k_before = 5 * 60;

// "2026-11-21 12:30 UTC".
[[nodiscard]] std::string say_time(std::time_t when);

// A span in its largest fitting unit, rounded down: "3 weeks", "1 day", "less than a minute". A negative span
// is told like a positive one.
[[nodiscard]] std::string say_span(std::time_t seconds);

// How something that is valid from `from` to `until` stands at `now`: "expires in 3 weeks", "expired 2 days
// ago", "not valid before 2026-11-21 12:30 UTC".
[[nodiscard]] std::string say_expiry(std::time_t now, std::time_t from, std::time_t until);

}  // namespace virtgate::ctl::pki
