// SPDX-License-Identifier: LGPL-2.1-or-later
// near_miss - the smallest changes that would turn a refusal into a permission.
//
// Every one is tried: what is said here has been judged by the same rules as the call itself. Only the last
// two kinds, objects and roles, say what the policy speaks of instead.
//
// Limits: k_misses_max changes of each kind are said.
#pragma once

#include <string>
#include <vector>

#include "ctl/policy/origins.h"
#include "ctl/policy/question.h"

namespace virtgate::ctl::policy {

inline constexpr std::size_t k_misses_max = 3;

struct NearMiss {
    // "flags", "listener", "time", "deny", "shadow", "objects" or "role"; for programs.
    std::string change{};
    std::string text{};  // "without flags the call is allowed"
};

// What would have to be different for the call to be allowed, the call's own words first, then the policy's.
// Empty if no single change is enough.
[[nodiscard]] std::vector<NearMiss> near_misses(const Question& question, Origins& origins);

}  // namespace virtgate::ctl::policy
