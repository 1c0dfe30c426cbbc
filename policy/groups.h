// SPDX-License-Identifier: LGPL-2.1-or-later
// groups - sets of procedures that a role can allow, and what they make of a session's ceiling.
//
// Nothing can allow what is denied for good: setting the identity towards libvirt, and the procedures of
// authentication, which the gate serves itself.
//
// Source: the programs and procedures of proto/; a newer libvirt's calls are in @admin as soon as the schema
//         has them.
#pragma once

#include <string_view>
#include <vector>

#include "proto/who.h"

namespace virtgate::policy {

// Adds the procedures of the group `name` ("@admin") to `ceiling`. False if there is no such group.
[[nodiscard]] bool add_group(std::string_view name, proto::who::Ceiling& ceiling);

// The names of all groups, for suggestions.
[[nodiscard]] const std::vector<std::string_view>& known_groups();

}  // namespace virtgate::policy
