// SPDX-License-Identifier: LGPL-2.1-or-later
// source - read a configuration file of libvirt's daemons.
//
// The format is small: KEY = VALUE on a line, or several with ";" between them; a value is a whole number, a text in '', "" or
// """ """, or a list of texts in [], which may go over lines; "#" begins a comment, but not inside of a list. There are no escapes
// in texts. All of that was tried out with libvirtd 9.0.0, and a test compares the two. It is read here because no library does it
// well: Augeas has lenses for these files, and brings its own language, its own rules for what a key may be called, and one place
// for whatever is wrong with a file.
//
// Trust:  the file is the administrator's; it may be garbled, and its complaints quote it escaped.
// Limits: files of ctl/files.h; a list has at most k_items_max texts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "libshared/base/result.h"

namespace virtgate::ctl::migrate {

inline constexpr std::size_t k_items_max = 10000;

// Both from 1, columns in characters of UTF-8. Line 0: the file does not have it.
struct Place {
    std::uint32_t line = 0;
    std::uint32_t column = 0;
};

struct Text {
    std::string text;
    Place at;
};

using Value = std::variant<std::int64_t, std::string, std::vector<Text>>;

struct Entry {
    std::string key;
    Place at;  // of the key
    Value value;
    Place value_at;
};

// "FILE:LINE:COLUMN: error: TEXT".
[[nodiscard]] std::string complaint(std::string_view file, Place at, std::string_view text);

// What `text` sets, in its order; a key may be there more than once, and then libvirt takes the first. `file` is its name in the
// complaint. Error: system's fault, the first mistake that libvirt would find, too.
Result<std::vector<Entry>> parse(std::string_view text, std::string_view file);

}  // namespace virtgate::ctl::migrate
