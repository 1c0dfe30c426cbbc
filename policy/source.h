// SPDX-License-Identifier: LGPL-2.1-or-later
// source - what the policy files say, with the place of every word, before names are looked up.
//
// Owns: copies of every text.
#pragma once

#include <vector>

#include "policy/complaints.h"

namespace virtgate::policy {

// One attribute that a client's subject has to have.
struct ConditionSource {
    Text attribute{};  // in the spelling of the policy's own list (attributes.h)
    bool is_glob = false;
    std::string pattern{};
};

// [identity.NAME]
struct IdentitySource {
    Text name{};
    std::vector<ConditionSource> subject{};
};

// [role.NAME]
struct RoleSource {
    Text name{};
    std::vector<Text> allow{};
};

// [[binding]]
struct BindingSource {
    Place at{};
    std::vector<Text> identities{};
    std::vector<Text> roles{};
};

// All files together: their order means nothing.
struct Source {
    std::vector<IdentitySource> identities{};
    std::vector<RoleSource> roles{};
    std::vector<BindingSource> bindings{};
};

}  // namespace virtgate::policy
