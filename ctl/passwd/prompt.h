// SPDX-License-Identifier: LGPL-2.1-or-later
// prompt - a password from whoever calls, and one that nobody guesses.
//
// Owns: nothing; the caller wipes what it gets.
#pragma once

#include <string>

#include "libshared/base/result.h"

namespace virtgate::ctl::passwd {

// Asks `question` on the terminal `fd` and reads a line from it that is not shown. A signal that ends the
// program does so after the terminal shows again what is typed. Error: system's fault, also at the end of
// input.
Result<std::string> ask(int fd, const std::string& question);

// One line from `fd` without its end. Error: system's fault, also if there is none or it is too long.
Result<std::string> read_line(int fd);

// 24 characters, 100 random bits: letters and digits that are not mistaken for each other, in groups of four.
[[nodiscard]] std::string generate();

}  // namespace virtgate::ctl::passwd
