// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what a keeper keeps: its channels and the key in its memory.
//
// Source: libshared/confine/plan.h has the steps; the calls were observed under load and are compared with what the test
//         suites make (scripts/observed-calls).
#pragma once

#include "libshared/confine/plan.h"

namespace virtgate::netd::keeper {

// What a keeper keeps.
[[nodiscard]] confine::Plan make_plan();

}  // namespace virtgate::netd::keeper
