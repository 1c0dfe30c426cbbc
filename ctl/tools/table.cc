// SPDX-License-Identifier: LGPL-2.1-or-later
// table - lines of columns, colours and sizes for people.
#include "ctl/tools/table.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "libshared/base/bytes.h"

namespace virtgate::ctl::tools {

namespace {

// How many columns of a terminal `text` takes: shown text has one for each character of UTF-8.
std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
}

std::string_view code_of(Colour colour) {
    switch (colour) {
        case Colour::green: return "\x1b[32m";
        case Colour::yellow: return "\x1b[33m";
        case Colour::red: return "\x1b[31m";
        case Colour::dim: return "\x1b[2m";
        case Colour::none: break;
    }
    return "";
}

}  // namespace

bool wants_colour(int fd) {
    const char* unwanted = getenv("NO_COLOR");
    const char* terminal = getenv("TERM");
    return isatty(fd) == 1 && (unwanted == nullptr || *unwanted == '\0') && terminal != nullptr &&
           std::string_view(terminal) != "dumb";
}

std::string paint(std::string_view text, Colour colour, bool on) {
    if (!on || colour == Colour::none) return std::string(text);
    return fmt::format("{}{}\x1b[0m", code_of(colour), text);
}

std::string align(const std::vector<Row>& rows, bool colours) {
    std::vector<std::size_t> widths(rows.front().size());
    for (const Row& row : rows)
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i].text));
    std::string text;
    for (const Row& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i) {
            text += paint(row[i].text, row[i].colour, colours);
            if (i + 1 < row.size()) text.append(widths[i] - width_of(row[i].text) + 2, ' ');
        }
        text += '\n';
    }
    return text;
}

std::string show(std::string_view text) {
    constexpr std::size_t k_longest = 4096;
    const std::string shown = escape(text, k_longest);
    return shown == text && !text.empty() ? shown : fmt::format("\"{}\"", shown);
}

std::string show_size(std::uint64_t bytes) {
    constexpr std::array k_units{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) return fmt::format("{} B", bytes);
    double value = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (value /= 1024; value >= 1023.95 && unit + 1 < k_units.size(); ++unit) value /= 1024;
    return fmt::format("{:.1f} {}", value, k_units[unit]);
}

std::string show_time(std::uint64_t seconds) {
    if (seconds >= 3600)
        return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
}

}  // namespace virtgate::ctl::tools
