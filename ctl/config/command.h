// SPDX-License-Identifier: LGPL-2.1-or-later
// command - "virtgate config": check, show and compare the settings of the daemons.
#pragma once

#include "ctl/command.h"

namespace virtgate::ctl::config {

std::unique_ptr<Command> add_command(CLI::App& app);

}  // namespace virtgate::ctl::config
