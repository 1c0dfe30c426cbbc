// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command lines of what speaks to servers: call, list, ping, events, console, upload, download.
//
// Exit status: outcome.h.
#pragma once

#include "ctl/command.h"

namespace virtgate::ctl::tools {

// Adds the commands to `app`, which has to live as long as the result.
[[nodiscard]] std::unique_ptr<Command> add_command(CLI::App& app);

}  // namespace virtgate::ctl::tools
