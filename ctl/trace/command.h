// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate trace".
//
// Exit status: that of the command that is run, 127 if it cannot be; else 0 when a signal ends it; 64 for a command line that is
// wrong; 71 if it cannot listen.
#pragma once

#include "ctl/command.h"

namespace virtgate::ctl::trace {

// Adds the command to `app`, which has to live as long as the result.
[[nodiscard]] std::unique_ptr<Command> add_command(CLI::App& app);

}  // namespace virtgate::ctl::trace
