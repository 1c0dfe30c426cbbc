// SPDX-License-Identifier: LGPL-2.1-or-later
// source - what the policy files say, with the place of every word, before names are looked up.
//
// Owns: copies of every text.
#pragma once

#include <optional>
#include <vector>

#include "policy/complaints.h"
#include "proto/policy.h"

namespace virtgate::policy {

// One table of tests. What needs no look-up is there as it will be compiled.
struct TestSource {
    proto::policy::ClientTest test{};
    std::optional<Text> user{};   // to be looked up
    std::optional<Text> group{};  // likewise
    Place at{};
};

// [identity.NAME]
struct IdentitySource {
    Text name{};
    TestSource all{};
    std::vector<TestSource> any{};
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
