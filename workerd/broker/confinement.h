// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the broker keeps: starting our programs, its socket's directory, and the way to libvirt's sockets.
//
// Source: libshared/confine/plan.h has the steps.
#pragma once

#include "libshared/confine/plan.h"
#include "workerd/broker/settings.h"

namespace virtgate::workerd::broker {

// What the broker keeps, which serves `settings` and starts the programs in the directory `programs`.
[[nodiscard]] confine::Plan make_plan(const Settings& settings, const std::string& programs);

}  // namespace virtgate::workerd::broker
