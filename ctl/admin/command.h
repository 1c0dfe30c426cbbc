// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command lines of "virtgate status", "top", "sessions", "disconnect" and "drain".
//
// Exit status: 0 done; 1 a daemon refused it, something of "status" does not run, or a session was not there; 64 for a command
// line that is wrong; 71 if a daemon cannot be asked.
#pragma once

#include "ctl/command.h"

namespace virtgate::ctl::admin {

// Adds the commands to `app`, which has to live as long as the result.
[[nodiscard]] std::unique_ptr<Command> add_command(CLI::App& app);

}  // namespace virtgate::ctl::admin
