// SPDX-License-Identifier: LGPL-2.1-or-later
// bounds - that roles and groups can be followed to their ends: none contains itself, and none grows beyond
// measure.
//
// Whoever follows includes after this may do so by recursion. A role that includes two, each of which
// includes two, and so on, is short to write and takes for ever to read; so what is counted is what there is
// to read after everything is included.
//
// Trust:  files belong to the administrator; still, a mistake in one must not keep the compiler busy.
// Limits: k_roles_max roles, k_groups_max groups, k_depth_max includes one in the other, and k_words_max
//         words of all roles together, each counted as often as it is read. Time and memory in proportion to
//         the source.
#pragma once

#include <optional>

#include "policy/complaints.h"
#include "policy/source.h"

namespace virtgate::policy {

inline constexpr std::size_t k_roles_max = 4096;
inline constexpr std::size_t k_groups_max = 1024;
inline constexpr std::size_t k_depth_max = 32;
inline constexpr std::size_t k_words_max = 16384;

// Complains about what is beyond these limits, and returns the source without it; nothing if there is
// nothing.
[[nodiscard]] std::optional<Source> cut_to_bounds(const Source& source, Complaints& complaints);

}  // namespace virtgate::policy
