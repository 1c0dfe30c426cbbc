// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what a program of others keeps: its connections, its directories, threads that are there already.
#pragma once

#include "libshared/confine/plan.h"
#include "proto/config.h"

namespace virtgate::service {

// `calls`: what it needs beyond the usual.
[[nodiscard]] confine::Plan make_plan(const proto::config::ServiceConfig& config,
                                      std::span<const confine::Row> calls);

}  // namespace virtgate::service
