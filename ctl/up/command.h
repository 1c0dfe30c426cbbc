// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate up".
//
// Exit status: that of up.h; 64 for a command line that is wrong.
#pragma once

#include "ctl/command.h"

namespace virtgate::ctl::up {

// Adds the command to `app`, which has to live as long as the result.
[[nodiscard]] std::unique_ptr<Command> add_command(CLI::App& app);

}  // namespace virtgate::ctl::up
