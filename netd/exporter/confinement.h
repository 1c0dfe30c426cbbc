// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the exporter keeps: its listener, and channels that it is given.
#pragma once

#include "libshared/confine/plan.h"

namespace virtgate::netd::exporter {

[[nodiscard]] confine::Plan make_plan();

}  // namespace virtgate::netd::exporter
