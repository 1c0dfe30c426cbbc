// SPDX-License-Identifier: LGPL-2.1-or-later
// complaint_codes - a word for each kind of mistake in a policy, for programs that read what the tools say.
//
// A text may become better from one version to the next, a code keeps its meaning. They are all in one table
// here, beside the texts that they stand for, and virtgate-policy(1) lists them; a test fails when somebody
// complains in a way that is not in the table.
//
// Limits: finding a code takes time in proportion to the table; it is done once for each complaint.
#pragma once

#include <span>
#include <string_view>

namespace virtgate::policy {

// What is not TOML at all; its texts are those of the parser.
inline constexpr std::string_view k_syntax_code = "syntax";

struct ComplaintCode {
    std::string_view code;     // "unknown-role"
    std::string_view pattern;  // a glob (glob.h) that the text of such a complaint fits
};

// The first row that fits a text says what it is.
[[nodiscard]] std::span<const ComplaintCode> complaint_codes() noexcept;

// The code of a complaint with that text; empty if the table has none.
[[nodiscard]] std::string_view code_of(std::string_view text) noexcept;

}  // namespace virtgate::policy
