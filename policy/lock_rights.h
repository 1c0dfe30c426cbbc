// SPDX-License-Identifier: LGPL-2.1-or-later
// lock_rights - what of an identity's rights is about locks: that is all that the lock daemon gets.
//
// Pure.
#pragma once

#include "proto/policy.h"

namespace virtgate::policy {

// True if `rights` allow a call of the program lock in some circumstances.
[[nodiscard]] bool may_lock(const proto::policy::IdentityRights& rights) noexcept;

// The grants that have something to do with the program lock, without what is about anything else. Whether a call of that
// program is allowed, by which grant, is the same as with all of `rights`.
[[nodiscard]] proto::policy::IdentityRights lock_rights(const proto::policy::IdentityRights& rights);

}  // namespace virtgate::policy
