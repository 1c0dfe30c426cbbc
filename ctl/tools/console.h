// SPDX-License-Identifier: LGPL-2.1-or-later
// console - a domain's console on this terminal.
#pragma once

#include <optional>
#include <string>

#include "ctl/tools/target.h"

namespace virtgate::ctl::tools {

struct ConsoleOrder {
    Target target;
    std::string domain;         // name, UUID or number
    std::string device;         // empty: the first console
    std::string escape = "^]";  // parse_escape()
    unsigned linger =
        2;  // seconds of silence after the end of a standard input that is no terminal; 0: no end
    bool force = false;  // disconnects whoever has the console
    bool safe = false;   // only if the driver can keep others out
};

// The byte of "^]", "^A" or a single character; none if it is neither. "none" is 256, which no byte is.
[[nodiscard]] std::optional<int> parse_escape(std::string_view text);

[[nodiscard]] int run_console(const ConsoleOrder& order);

}  // namespace virtgate::ctl::tools
