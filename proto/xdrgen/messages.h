// SPDX-License-Identifier: LGPL-2.1-or-later
// messages - the complaints of one run, in the form that editors and people know.
//
// Limits: all errors of a run are collected; the first 100 are printed.
// Owns:   the texts. A Position names its file by a number, so that it is cheap to copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libshared/base/suggest.h"

namespace virtgate::proto::xdrgen {

// Where something stands. Lines and columns count from 1; a column is a byte. Line 0 means "the file as a whole".
struct Position {
    std::uint32_t file = 0;
    std::uint32_t line = 0;
    std::uint32_t column = 0;
};

class Messages {
public:
    // The number by which positions name this file.
    std::uint32_t add_file(std::string name);

    // Records "file:line:column: error: text".
    void error(Position at, std::string_view text);

    [[nodiscard]] bool any() const noexcept { return !lines_.empty(); }

    // Every message so far, one per line, in the order of files, lines and columns.
    [[nodiscard]] std::string text() const;

private:
    struct Line {
        Position at;
        std::string text;
    };
    std::vector<std::string> files_;
    std::vector<Line> lines_;
};

}  // namespace virtgate::proto::xdrgen
