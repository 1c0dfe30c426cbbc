// SPDX-License-Identifier: LGPL-2.1-or-later
// suggest - what somebody probably meant to type.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace virtgate::ctl {

// The one of `known` that is nearest to `typed`, or "" when none is near: at most one third of its letters
// may have to be inserted, removed, replaced or swapped with their neighbour, or `typed` is the beginning of
// it.
[[nodiscard]] std::string suggest(std::string_view typed, std::span<const std::string> known);

// suggest() as the end of a message: " (did you mean "up"?)" or "".
[[nodiscard]] std::string did_you_mean(std::string_view typed, std::span<const std::string> known);

}  // namespace virtgate::ctl
