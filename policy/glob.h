// SPDX-License-Identifier: LGPL-2.1-or-later
// glob - compare one value with a pattern.
//
// `*` stands for any number of characters, `?` for one; a character is what UTF-8 makes of the bytes.
// Everything else stands for itself. A pattern is compared with one value, an attribute of a name for
// example, and never with several values in one string, so it cannot reach beyond that value. Control
// characters match nothing but themselves.
//
// Trust:  values come from clients, patterns from the administrator.
// Limits: time in proportion to pattern times value; no recursion, no allocation.
#pragma once

#include <string_view>

namespace virtgate::policy {

// True if the whole of `value` matches `pattern`.
[[nodiscard]] bool matches_glob(std::string_view pattern, std::string_view value) noexcept;

// Why `pattern` cannot be used; empty if it can. Brackets are refused so that they can get a meaning later.
[[nodiscard]] std::string_view flaw_of_glob(std::string_view pattern) noexcept;

}  // namespace virtgate::policy
