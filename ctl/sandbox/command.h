// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate sandbox".
//
// Exit status: 0 if nothing is missing that this kernel could do, 1 if something is; 64 for a command line that is wrong,
// 71 if a program cannot be asked.
#pragma once

#include "ctl/command.h"

namespace virtgate::ctl::sandbox {

// Adds the command to `app`, which has to live as long as the result.
[[nodiscard]] std::unique_ptr<Command> add_command(CLI::App& app);

}  // namespace virtgate::ctl::sandbox
