// SPDX-License-Identifier: LGPL-2.1-or-later
// glob - compare one value with a pattern.
#include "policy/glob.h"

#include <cstddef>

namespace virtgate::policy {

namespace {

bool is_control(char c) noexcept { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// How many bytes the character at the front has. Bytes that are not UTF-8 count one by one.
std::size_t character_size(std::string_view text) noexcept {
    const auto lead = static_cast<unsigned char>(text.front());
    const std::size_t size = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    for (std::size_t i = 1; i < size; ++i)
        if (i >= text.size() || (static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 1;
    return size;
}

}  // namespace

// Only the last `*` is ever tried again: an earlier one cannot do better with more characters.
bool matches_glob(std::string_view pattern, std::string_view value) noexcept {
    bool has_star = false;
    std::string_view star_pattern, star_value;
    for (;;) {
        if (!pattern.empty() && pattern.front() == '*') {
            pattern.remove_prefix(1);
            has_star = true;
            star_pattern = pattern;
            star_value = value;
            continue;
        }
        if (value.empty() && pattern.empty()) return true;
        if (!value.empty() && !pattern.empty()) {
            if (pattern.front() == '?' && !is_control(value.front())) {
                pattern.remove_prefix(1);
                value.remove_prefix(character_size(value));
                continue;
            }
            if (pattern.front() == value.front()) {
                pattern.remove_prefix(1);
                value.remove_prefix(1);
                continue;
            }
        }
        // A mismatch: let the last star have one character more.
        if (!has_star || star_value.empty() || is_control(star_value.front())) return false;
        star_value.remove_prefix(character_size(star_value));
        value = star_value;
        pattern = star_pattern;
    }
}

std::string_view flaw_of_glob(std::string_view pattern) noexcept {
    if (pattern.empty()) return "an empty pattern matches nothing";
    if (pattern.find_first_of("[]") != pattern.npos) return "character sets are not supported in patterns";
    return {};
}

}  // namespace virtgate::policy
