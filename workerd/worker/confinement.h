// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what a worker keeps: its channels, and connections that the broker made.
//
// Source: libshared/confine/plan.h has the steps; the calls were observed under load and are compared with what the test
//         suites make (scripts/observed-calls).
#pragma once

#include "libshared/confine/plan.h"

namespace virtgate::workerd::worker {

// What a worker keeps.
[[nodiscard]] confine::Plan make_plan();

}  // namespace virtgate::workerd::worker
