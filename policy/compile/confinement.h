// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the policy compiler keeps: the directories that it reads, for a moment.
//
// Source: libshared/confine/plan.h has the steps; the calls were observed under load and are compared with what the test
//         suites make (scripts/observed-calls).
#pragma once

#include "libshared/confine/plan.h"

namespace virtgate::policy {

// What the compiler keeps.
[[nodiscard]] confine::Plan make_plan(const std::vector<std::string>& directories);

}  // namespace virtgate::policy
