// SPDX-License-Identifier: LGPL-2.1-or-later
// suggest - what somebody probably meant to type.
//
// For messages about a wrong word in a configuration file, a policy, a schema or on the command line.
//
// Limits: words of at most 64 bytes; longer ones are no typing mistakes.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace virtgate {

// The word of `known` that is nearest to `typed`: one that begins with it, or that a few changed, added, removed or
// swapped letters turn it into. Empty if none is near. It lives as long as `known`'s words.
[[nodiscard]] std::string_view suggest_among(std::string_view typed, std::span<const std::string_view> known);

// The same as the end of a message: ` (did you mean "up"?)`, or nothing.
[[nodiscard]] std::string did_you_mean_among(std::string_view typed, std::span<const std::string_view> known);

// The same for any range of texts.
template <class Range = std::vector<std::string_view>>
[[nodiscard]] std::string_view suggest(std::string_view typed, const Range& known) {
    return suggest_among(typed, std::vector<std::string_view>(std::begin(known), std::end(known)));
}
template <class Range = std::vector<std::string_view>>
[[nodiscard]] std::string did_you_mean(std::string_view typed, const Range& known) {
    return did_you_mean_among(typed, std::vector<std::string_view>(std::begin(known), std::end(known)));
}

}  // namespace virtgate
