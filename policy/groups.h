// SPDX-License-Identifier: LGPL-2.1-or-later
// groups - the built-in groups of procedures that a role can allow.
//
// Nothing can allow what is denied for good: setting the identity towards libvirt, and the procedures of
// authentication, which the gate serves itself.
//
// Source: group_table, and for @admin the programs and procedures of proto/: a newer libvirt's calls are in it as
//         soon as the schema has them.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "proto/program.h"
#include "proto/who.h"

namespace virtgate::policy {

inline constexpr std::string_view k_admin_group = "@admin";

// Calls `visit` with every procedure of the group `name` ("@admin") and the flags with which it is not in the group.
// Calls that pass on anything are in @admin only with `passthrough`. False if there is no such group.
using VisitGroup = std::function<void(const proto::ProgramInfo&, const proto::ProcedureInfo&, std::uint64_t)>;
[[nodiscard]] bool visit_group(std::string_view name, bool passthrough, const VisitGroup& visit);

// The names of all groups, for suggestions.
[[nodiscard]] const std::vector<std::string_view>& known_groups();

// Adds a procedure to `ceiling`.
void add_to(proto::who::Ceiling& ceiling, const proto::ProgramInfo& program, std::uint32_t procedure);

// True if the arguments of the procedure have "flags".
[[nodiscard]] bool has_flags_argument(const proto::ProgramInfo& program,
                                      const proto::ProcedureInfo& procedure);

}  // namespace virtgate::policy
