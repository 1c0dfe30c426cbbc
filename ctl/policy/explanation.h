// SPDX-License-Identifier: LGPL-2.1-or-later
// explanation - why a call is allowed or refused, binding by binding and word by word, and what would have to
// be different.
//
// Trust:  texts of the policy and of the request are escaped in the text, and as they are in JSON.
// Limits: bindings whose roles have nothing to do with the procedure are only counted behind k_idle_shown of
//         them.
// Owns:   copies; an explanation outlives the policy.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "ctl/policy/near_miss.h"
#include "ctl/policy/origins.h"
#include "ctl/policy/question.h"

namespace virtgate::ctl::policy {

inline constexpr std::size_t k_idle_shown = 10;

struct ExplainedBinding {
    std::string role{};
    virtgate::policy::Place at{};
    std::string says{};  // "the procedure, the flags and the objects fit"
    std::vector<RoleWord> allows{}, denies{}, needs{};
    bool has_part = false;  // the role allows or denies the procedure
    bool decides = false;
};

struct Explanation {
    bool allowed = false;
    std::string reason{};  // as in the audit log, "deny-rule"; or "read-only"
    std::string call{};
    std::string identity{};
    virtgate::policy::Place identity_at{};
    std::vector<std::string> passed{};  // tests of the identity; empty: only its name was told
    std::vector<ExplainedBinding> bindings{};
    std::string shadow{};              // what a binding on probation would do, or empty
    std::vector<std::string> notes{};  // on what else it depends
    std::vector<NearMiss> near_misses{};
};

[[nodiscard]] Explanation explain(const Question& question);

// Several lines for people; what decides is marked.
[[nodiscard]] std::string to_text(const Explanation& explanation);

// The keys are in virtgate-policy(1).
[[nodiscard]] nlohmann::ordered_json to_json(const Explanation& explanation);

}  // namespace virtgate::ctl::policy
