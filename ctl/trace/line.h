// SPDX-License-Identifier: LGPL-2.1-or-later
// line - a record as one line, for people or for programs.
//
// Pure.
//
// Trust:  texts of both sides are shown as ASCII, with everything else escaped.
#pragma once

#include <chrono>
#include <string>

#include "ctl/trace/decoder.h"

namespace virtgate::ctl::trace {

using Moment = std::chrono::system_clock::time_point;

// Bytes of arguments and results that a line for people has, unless all are wanted.
inline constexpr std::size_t k_shown_max = 400;

// "14:02:11.123456 1 > call remote.domain_lookup_by_name #4 {"name":"web"}", with a newline. `connection`: its number;
// `full`: however long it is.
[[nodiscard]] std::string line_text(const Record& record, unsigned connection, Moment when, bool full);
[[nodiscard]] std::string line_json(const Record& record, unsigned connection, Moment when);

// The same of the beginning and the end of a connection.
[[nodiscard]] std::string note_text(std::string_view note, unsigned connection, Moment when);
[[nodiscard]] std::string note_json(std::string_view note, unsigned connection, Moment when);

}  // namespace virtgate::ctl::trace
