// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate discover".
//
// Exit status: 0 a server was found; 1 none; 64 for a command line that is wrong; 71 if Avahi cannot be asked.
#pragma once

#include "ctl/command.h"

namespace virtgate::ctl::discover {

// Adds the command to `app`, which has to live as long as the result.
[[nodiscard]] std::unique_ptr<Command> add_command(CLI::App& app);

}  // namespace virtgate::ctl::discover
