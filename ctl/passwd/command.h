// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate passwd".
//
// Exit status: 0; 1 if "check" finds that a password does not fit, or the user to check or to delete is not
// there; 64 for a command line, a name or a password that cannot be; 71 if the machine, or the file, was in
// the way.
#pragma once

#include "ctl/command.h"

namespace virtgate::ctl::passwd {

// Adds the command and its own commands to `app`, which has to live as long as the result.
[[nodiscard]] std::unique_ptr<Command> add_command(CLI::App& app);

}  // namespace virtgate::ctl::passwd
