// SPDX-License-Identifier: LGPL-2.1-or-later
// processes - what a supervisor has counted of the processes that it started.
#pragma once

#include "libshared/metrics/tally.h"
#include "libshared/spawn/census.h"

namespace virtgate::metrics {

void add_processes(Tally& tally, const spawn::Census& census);

}  // namespace virtgate::metrics
