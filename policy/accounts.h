// SPDX-License-Identifier: LGPL-2.1-or-later
// accounts - the numbers of users and groups that a policy calls by name.
//
// Names are looked up when the policy is compiled: what the kernel says about a client is numbers, and
// whoever can change the user database while clients come must not be able to change who they are.
//
// Trust:  the machine's user database, which may be on the network.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "libshared/base/result.h"

namespace virtgate::policy {

// The number of the user or group `name`; none if there is no such. Error: system's fault, if the database
// cannot be read.
[[nodiscard]] Result<std::optional<std::uint32_t>> find_user(const std::string& name);
[[nodiscard]] Result<std::optional<std::uint32_t>> find_group(const std::string& name);

}  // namespace virtgate::policy
