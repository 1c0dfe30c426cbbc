// SPDX-License-Identifier: LGPL-2.1-or-later
// table - lines of columns, colours and sizes for people.
//
// Pure, but for what it asks of the terminal.
//
// Trust: texts of a server are escaped by show(); a row stays one line, and a column its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace virtgate::ctl::tools {

enum class Colour : unsigned char { none, green, yellow, red, dim };

struct Cell {
    std::string text;
    Colour colour = Colour::none;
};
using Row = std::vector<Cell>;

// Whether colours are wanted on `fd`: a terminal, without $NO_COLOR, and not a dumb one.
[[nodiscard]] bool wants_colour(int fd);

// The text in its colour, if `on`.
[[nodiscard]] std::string paint(std::string_view text, Colour colour, bool on);

// Columns as wide as they need to be, two blanks apart; the first row is the header.
[[nodiscard]] std::string align(const std::vector<Row>& rows, bool colours);

// A text of the server as it is, or in quotes with what is not plain as \xNN.
[[nodiscard]] std::string show(std::string_view text);

// "0 B", "1023 B", "1.5 KiB", "20.0 GiB".
[[nodiscard]] std::string show_size(std::uint64_t bytes);

// Seconds as "0:07", "12:34", "1:02:03".
[[nodiscard]] std::string show_time(std::uint64_t seconds);

}  // namespace virtgate::ctl::tools
