// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the announcer keeps: its connection to the bus.
//
// Source: libshared/confine/plan.h has the steps; the calls were observed (scripts/observed-calls).
#pragma once

#include "libshared/confine/plan.h"

namespace virtgate::netd::announcer {

// What the announcer keeps.
[[nodiscard]] confine::Plan make_plan();

}  // namespace virtgate::netd::announcer
