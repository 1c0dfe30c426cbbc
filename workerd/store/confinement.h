// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the store keeps: its directories, its connections, threads that are there already.
#pragma once

#include "libshared/confine/plan.h"
#include "proto/config.h"

namespace virtgate::workerd::store {

[[nodiscard]] confine::Plan make_plan(const proto::config::StoreConfig& config);

}  // namespace virtgate::workerd::store
