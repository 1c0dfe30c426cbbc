// SPDX-License-Identifier: LGPL-2.1-or-later
// excerpt - a line of a policy file with a mark below the word that a complaint is about:
//         4 | allow = ["@read-onyl"]
//           |          ^~~~~~~~~~~~
//
// Trust:  the line is the administrator's; control characters in it are shown as "?", so that no terminal
//         obeys them.
// Limits: k_width_max characters of a line are shown, those around the place.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace virtgate::ctl::policy {

inline constexpr std::size_t k_width_max = 96;

// Two lines, each with a newline; empty if `text`, a whole file, has no such place. Lines and columns count
// from 1, columns in characters of UTF-8.
[[nodiscard]] std::string excerpt(std::string_view text, std::uint32_t line, std::uint32_t column);

}  // namespace virtgate::ctl::policy
