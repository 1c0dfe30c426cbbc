// SPDX-License-Identifier: LGPL-2.1-or-later
// command - the command line of "virtgate policy".
//
// Exit status: 0; 1 if the policy has errors, a call is refused, a test fails, policies differ or something
// is unused; 2 if there are warnings and --strict was given, or if there is nothing that could be answered;
// 64 for a command line that is wrong; 71 if the machine was in the way.
#pragma once

#include "ctl/command.h"

namespace virtgate::ctl::policy {

// Adds the command and its own commands to `app`, which has to live as long as the result.
[[nodiscard]] std::unique_ptr<Command> add_command(CLI::App& app);

}  // namespace virtgate::ctl::policy
