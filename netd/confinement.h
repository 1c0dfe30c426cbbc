// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what netd's supervisor keeps: starting our programs, and reading what the configuration names.
//
// Source: libshared/confine/plan.h has the steps.
#pragma once

#include "libshared/confine/plan.h"
#include "netd/settings.h"

namespace virtgate::netd {

// What the supervisor keeps, which serves `settings` and starts the programs in the directory `programs`.
[[nodiscard]] confine::Plan make_plan(const Settings& settings, const std::string& programs);

}  // namespace virtgate::netd
