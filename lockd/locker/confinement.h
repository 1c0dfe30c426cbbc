// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the locker keeps: its listeners and clients, files beneath configured directories, signals to owners.
//
// Source: libshared/confine/plan.h has the steps.
#pragma once

#include "libshared/confine/plan.h"
#include "proto/config.h"

namespace virtgate::lockd::locker {

// What the locker keeps that serves `config`.
[[nodiscard]] confine::Plan make_plan(const proto::config::LockerConfig& config);

}  // namespace virtgate::lockd::locker
