// SPDX-License-Identifier: LGPL-2.1-or-later
// top - who is busy, shown again and again on a terminal.
#pragma once

#include "ctl/admin/look.h"

namespace virtgate::ctl::admin {

// Until "q" is typed, or a signal comes. Exit status: 0; 71 if this is no terminal.
[[nodiscard]] int run_top(const Sockets& sockets, unsigned interval);

}  // namespace virtgate::ctl::admin
