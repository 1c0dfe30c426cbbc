// SPDX-License-Identifier: LGPL-2.1-or-later
// complaints - what is wrong with the policy files.
#include "policy/complaints.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <tuple>
#include <utility>

#include "libshared/base/bytes.h"
#include "policy/complaint_codes.h"

namespace virtgate::policy {

namespace {

constexpr std::string_view k_error_mark = ": error: ";

// Takes ":NUMBER" from the front of `text`; 0 if there is none.
std::uint32_t take_number(std::string_view& text) noexcept {
    std::uint32_t number = 0;
    if (!text.starts_with(':')) return 0;
    const auto [end, error] = std::from_chars(text.data() + 1, text.data() + text.size(), number);
    if (error != std::errc{}) return 0;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return number;
}

}  // namespace

void Complaints::add(const Place& at, bool is_error, std::string_view text) {
    ++(is_error ? errors_ : warnings_);
    std::string place = escape(at.file);
    if (at.line != 0) place += fmt::format(":{}:{}", at.line, at.column);
    keep({is_error, fmt::format("{}: {}: {}", place, is_error ? "error" : "warning", text), at,
          std::string(text), code_of(text)});
}

void Complaints::ready_error(const std::string& file, std::string line) {
    ++errors_;
    Place at{.file = file};
    std::string_view rest = line;
    if (rest.starts_with(file)) {
        rest.remove_prefix(file.size());
        at.line = take_number(rest);
        at.column = take_number(rest);
    }
    const auto mark = rest.find(k_error_mark);
    std::string message(mark == rest.npos ? rest : rest.substr(mark + k_error_mark.size()));
    const std::string_view code = code_of(message);
    keep({true, std::move(line), std::move(at), std::move(message), code.empty() ? k_syntax_code : code});
}

void Complaints::keep(Line line) {
    // Warnings never take the place of an error.
    std::size_t& kept = line.is_error ? kept_errors_ : kept_warnings_;
    if (kept == k_lines_max) return;
    ++kept;
    kept_.push_back(std::move(line));
}

std::vector<Complaints::Line> Complaints::lines() const {
    std::vector<Line> lines = kept_;
    std::stable_sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) {
        return std::tie(a.at.file, a.at.line, a.at.column) < std::tie(b.at.file, b.at.line, b.at.column);
    });
    if (const std::size_t more = errors_ + warnings_ - kept_.size(); more != 0) {
        const std::string text = fmt::format("and {} more", more);
        lines.push_back({errors_ > kept_errors_, text, {}, text, {}});
    }
    return lines;
}

}  // namespace virtgate::policy
