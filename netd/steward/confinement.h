// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the steward keeps: its socket, and channels that it is given.
#pragma once

#include "libshared/confine/plan.h"

namespace virtgate::netd::steward {

[[nodiscard]] confine::Plan make_plan();

}  // namespace virtgate::netd::steward
