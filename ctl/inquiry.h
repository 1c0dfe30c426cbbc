// SPDX-License-Identifier: LGPL-2.1-or-later
// inquiry - have one of our programs say something about itself, and end.
//
// Trust:  the program is of this version and installed by the administrator; its text is bounded, and escaped by who shows it.
// Limits: 1 MiB of text, 20 seconds for each piece of it; then the program is ended.
#pragma once

#include <string>
#include <vector>

#include "libshared/base/result.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl {

struct Reply {
    std::string text;  // standard output and error, as they came
    spawn::Exit exit;
};

struct Inquiry {
    std::string path;                    // of the executable, absolute
    std::string name;                    // in ps: "virtgate: NAME"
    std::vector<std::string> arguments;  // after argv[0]
    bool keeps_capabilities = false;     // see spawn::Launch
};

// Starts it with an empty environment and waits until it has ended. Error: system's fault: it cannot be started, does not end, or
// says too much.
Result<Reply> ask_program(Inquiry inquiry);

// The lines of `text` that a daemon would log, without the priority in front of each; the last one alone, or all.
[[nodiscard]] std::string_view last_line(std::string_view text) noexcept;
[[nodiscard]] std::vector<std::string_view> lines_of(std::string_view text);

}  // namespace virtgate::ctl
