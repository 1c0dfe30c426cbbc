// SPDX-License-Identifier: LGPL-2.1-or-later
// excerpt - a line of a policy file with a mark below a word.
#include "ctl/policy/excerpt.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace virtgate::ctl::policy {

namespace {

// The line of that number, without its end; nothing if there are fewer.
std::string_view line_of(std::string_view text, std::uint32_t number) noexcept {
    for (; number > 1; --number) {
        const auto end = text.find('\n');
        if (end == text.npos) return {};
        text.remove_prefix(end + 1);
    }
    text = text.substr(0, text.find('\n'));
    if (text.ends_with('\r')) text.remove_suffix(1);
    return text;
}

// The characters of a line. What is no UTF-8 counts byte by byte.
std::vector<std::string_view> characters_of(std::string_view line) {
    std::vector<std::string_view> characters;
    while (!line.empty()) {
        const auto first = static_cast<unsigned char>(line.front());
        const std::size_t most = first < 0xc0   ? 1
                                 : first < 0xe0 ? 2
                                 : first < 0xf0 ? 3
                                 : first < 0xf8 ? 4
                                                : 1;
        std::size_t size = 1;
        while (size < most && size < line.size() && (static_cast<unsigned char>(line[size]) & 0xc0) == 0x80)
            ++size;
        characters.push_back(line.substr(0, size));
        line.remove_prefix(size);
    }
    return characters;
}

bool is_word(std::string_view c) noexcept {
    return c.size() > 1 || (c[0] >= 'a' && c[0] <= 'z') || (c[0] >= 'A' && c[0] <= 'Z') ||
           (c[0] >= '0' && c[0] <= '9') || c == "_" || c == "-" || c == ".";
}

// Behind the last character of what begins at `at`: a text in quotes, a [table], or a word.
std::size_t end_of(const std::vector<std::string_view>& line, std::size_t at) noexcept {
    const std::string_view first = line[at];
    std::size_t end = at + 1;
    if (first == "\"" || first == "'") {
        while (end < line.size() && line[end] != first) end += first == "\"" && line[end] == "\\" ? 2 : 1;
        return std::min(end + 1, line.size());
    }
    if (first == "[")
        while (end < line.size() && line[end] == "[") ++end;
    if (is_word(first))
        while (end < line.size() && is_word(line[end])) ++end;
    return end;
}

std::string shown(std::string_view character) {
    const auto first = static_cast<unsigned char>(character.front());
    const bool is_control = first < 0x20 || first == 0x7f || (first >= 0x80 && character.size() == 1);
    return is_control ? (first == '\t' ? " " : "?") : std::string(character);
}

}  // namespace

std::string excerpt(std::string_view text, std::uint32_t line, std::uint32_t column) {
    if (line == 0 || column == 0) return {};
    const std::vector<std::string_view> all = characters_of(line_of(text, line));
    const std::size_t at = column - 1;
    if (at >= all.size()) return {};
    const std::size_t from = at > k_width_max / 2 && all.size() > k_width_max ? at - k_width_max / 2 : 0;
    const std::size_t until = std::min(all.size(), from + k_width_max);
    const std::size_t end = std::min(end_of(all, at), until);
    std::string source = from != 0 ? "..." : "";
    for (std::size_t i = from; i < until; ++i) source += shown(all[i]);
    if (until != all.size()) source += "...";
    const std::string mark =
        std::string(at - from + (from != 0 ? 3 : 0), ' ') + '^' + std::string(end - at - 1, '~');
    return fmt::format("{:>6} | {}\n{:>6} | {}\n", line, source, "", mark);
}

}  // namespace virtgate::ctl::policy
