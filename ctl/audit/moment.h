// SPDX-License-Identifier: LGPL-2.1-or-later
// moment - moments as a person writes them, and as records have them.
//
// Pure, but for the machine's time zone.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "ctl/audit/entry.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::audit {

// A moment by RFC 3339: "2024-11-21T14:02:11.031337Z", "2024-11-21T15:02:11+01:00". Digits of a second behind the
// sixth are dropped. Empty if it is something else.
[[nodiscard]] std::optional<Moment> parse_rfc3339(std::string_view text);

// A moment for --since and --until, seen from `now`:
//     2024-11-21T14:02:11Z     RFC 3339
//     2024-11-21 [14:02[:11]]  in this machine's time zone; a "T" may stand for the space
//     14:02[:11]               today
//     90s, 15m, 2h, 7d, 4w     ago
// Error: peer's fault, with what would be right.
[[nodiscard]] Result<Moment> parse_moment(std::string_view text, Moment now);

// In this machine's time zone: "14:02:11" if it is on the day of `now`, otherwise "2024-11-21 14:02:11".
[[nodiscard]] std::string format_moment(Moment moment, Moment now);

// The machine's clock.
[[nodiscard]] Moment current_moment() noexcept;

}  // namespace virtgate::ctl::audit
