// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what a leaser keeps: connections to the ports of etcd's servers, and no file.
//
// Source: libshared/confine/plan.h has the steps.
#pragma once

#include "libshared/confine/plan.h"

namespace virtgate::lockd::etcd {

// What a leaser keeps whose servers listen at `ports`.
[[nodiscard]] confine::Plan make_plan(const std::vector<std::uint16_t>& ports);

}  // namespace virtgate::lockd::etcd
