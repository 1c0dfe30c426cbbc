// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate locks".
//
// Exit status: 0 done; 1 the lock daemon refused it, or there is no such lock, or whoever was asked said no; 64 for a command
// line that is wrong; 71 if the lock daemon cannot be asked.
#pragma once

#include "ctl/command.h"

namespace virtgate::ctl::locks {

// Adds the command to `app`, which has to live as long as the result.
[[nodiscard]] std::unique_ptr<Command> add_command(CLI::App& app);

}  // namespace virtgate::ctl::locks
