// SPDX-License-Identifier: LGPL-2.1-or-later
// programs - where the daemons are that belong to this command.
#pragma once

#include <string>

#include "libshared/base/result.h"

namespace virtgate::ctl {

// Their directory, without a final slash: beside this executable, as they are built, or where they are installed.
// Error: system's fault, if they are in neither.
Result<std::string> find_programs();

}  // namespace virtgate::ctl
