// SPDX-License-Identifier: LGPL-2.1-or-later
// command - "virtgate migrate-config": from a configuration of libvirt's daemons to one of virtgate's.
#pragma once

#include "ctl/command.h"

namespace virtgate::ctl::migrate {

std::unique_ptr<Command> add_command(CLI::App& app);

}  // namespace virtgate::ctl::migrate
