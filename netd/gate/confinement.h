// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what a gate keeps: its listeners and sockets that others gave it.
//
// Source: libshared/confine/plan.h has the steps; the calls were observed under load and are compared with what the test
//         suites make (scripts/observed-calls).
#pragma once

#include "libshared/confine/plan.h"

namespace virtgate::netd::gate {

// What a gate keeps.
[[nodiscard]] confine::Plan make_plan();

}  // namespace virtgate::netd::gate
