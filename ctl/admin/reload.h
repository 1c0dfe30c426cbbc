// SPDX-License-Identifier: LGPL-2.1-or-later
// reload - "virtgate policy reload": has workerd read the policy anew, and says what came of it.
#pragma once

#include "ctl/admin/look.h"

namespace virtgate::ctl::admin {

// Waits until it is in force or refused, which has a bound. Returns the exit status of the program.
[[nodiscard]] int run_policy_reload(const Sockets& sockets, bool json);

}  // namespace virtgate::ctl::admin
