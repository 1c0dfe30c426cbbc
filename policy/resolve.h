// SPDX-License-Identifier: LGPL-2.1-or-later
// resolve - from what the files say to the compiled table: names are looked up, also those of users and groups
// of the machine, and roles become ceilings.
//
// An identity that no binding names is part of the table, with an empty ceiling: whoever matches it may
// nothing.
//
// Trust:  the files are the administrator's.
// Limits: those of proto/policy.x.
#pragma once

#include "policy/source.h"
#include "proto/policy.h"

namespace virtgate::policy {

// The table of `source`. What is wrong goes to `complaints`; then the table must not be used.
[[nodiscard]] proto::policy::PolicyTable resolve(const Source& source, Complaints& complaints);

}  // namespace virtgate::policy
