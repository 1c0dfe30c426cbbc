// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what doorman keeps: its channels, the broker's socket, local clients.
//
// Source: libshared/confine/plan.h has the steps; the calls were observed under load and are compared with what the test
//         suites make (scripts/observed-calls).
#pragma once

#include "libshared/confine/plan.h"

namespace virtgate::netd::doorman {

// What doorman keeps. `has_local_clients`: it accepts clients of UNIX sockets, and has /proc to find out who they are.
[[nodiscard]] confine::Plan make_plan(bool has_local_clients);

}  // namespace virtgate::netd::doorman
