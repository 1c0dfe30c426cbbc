// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate pki".
//
// Exit status: 0; 1 if "check" has found a problem; 64 for a command line that is wrong; 71 if the machine,
// or what is in the directory, was in the way.
#pragma once

#include "ctl/command.h"

namespace virtgate::ctl::pki {

// Adds the command and its own commands to `app`, which has to live as long as the result.
[[nodiscard]] std::unique_ptr<Command> add_command(CLI::App& app);

}  // namespace virtgate::ctl::pki
