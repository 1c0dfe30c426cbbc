// SPDX-License-Identifier: LGPL-2.1-or-later
// console - what "virtgate up" shows: log lines on standard error, news for a person on standard output.
//
// Limits: colour on a terminal only, and not when NO_COLOR is set. A terminal that has gone away is no error.
#pragma once

#include <string_view>

namespace virtgate::ctl::up {

// From now on the log lines of this process, and so those of its children, are for people: no priority
// numbers, but "warning: " and the like, in colour on a terminal.
void log_for_people() noexcept;

// Writes `text` to standard output.
void tell(std::string_view text) noexcept;

}  // namespace virtgate::ctl::up
