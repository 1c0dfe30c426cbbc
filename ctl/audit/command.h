// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate audit".
//
// Exit status: 0 if a record was shown; 1 if there is none that fits; 64 for a command line that is wrong; 71 if the file
// cannot be read. With --follow it runs until a signal ends it.
#pragma once

#include "ctl/command.h"

namespace virtgate::ctl::audit {

// Adds the command to `app`, which has to live as long as the result.
[[nodiscard]] std::unique_ptr<Command> add_command(CLI::App& app);

}  // namespace virtgate::ctl::audit
