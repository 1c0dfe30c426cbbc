// SPDX-License-Identifier: LGPL-2.1-or-later
// tree - a parsed TOML file, with the place of every key and value.
//
// Trust:  the file belongs to the administrator; it may be wrong, but it is not hostile.
// Limits: files of at most k_file_max bytes, k_tables_max tables and lists and k_values_max values: a tree of some
//         60 MiB. Dates and times are not known: no setting has that type.
// Source: TOML 1.0. The only user of toml++ here is tree.cc; nothing of it shows in this header.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "libshared/base/result.h"

namespace virtgate::config {

inline constexpr std::size_t k_file_max = 1U << 20;
inline constexpr std::int64_t k_tables_max = 65536;
inline constexpr std::int64_t k_values_max = 262144;

// Counted from 1, in characters.
struct Place {
    std::uint32_t line = 1;
    std::uint32_t column = 1;
};

struct Node;
struct Entry;
using Array = std::vector<Node>;
using Table = std::map<std::string, Entry, std::less<>>;

struct Node {
    Place place;
    std::variant<bool, std::int64_t, double, std::string, Array, Table> value;
};

struct Entry {
    Place key;
    Node node;
};

// "FILE:LINE:COLUMN: error: TEXT", the form of every complaint about a configuration file.
[[nodiscard]] std::string complain(std::string_view file, Place place, std::string_view text);

// Parses `text`; `file` is its name in errors. Error: system's fault, a complaint with the place.
Result<Table> parse(std::string_view text, std::string_view file);

}  // namespace virtgate::config
