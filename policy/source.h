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

// [group.NAME]
struct GroupSource {
    Text name{};
    std::vector<Text> procedures{};
};

// xml = { ... } of a role
struct XmlSource {
    std::vector<Text> forbid{};
    std::vector<Text> paths{};
    Place at{};
};

// [role.NAME]
struct RoleSource {
    Text name{};
    std::vector<Text> include{};
    std::vector<Text> allow{};
    std::vector<Text> deny{};
    std::vector<Text> require{};  // flags without which it allows nothing
    std::vector<Text> redact{};
    proto::policy::LimitSet limits{};
    std::optional<proto::policy::AuditLevel> audit{};
    std::optional<XmlSource> xml{};
};

// [[binding]]
struct BindingSource {
    Place at{};
    std::vector<Text> identities{};
    std::vector<Text> roles{};
    bool has_objects = false;  // the key is there
    std::vector<proto::policy::ObjectPattern> objects{};
    std::vector<proto::policy::ObjectPattern> except{};
    proto::policy::LimitSet limits{};
    std::vector<std::string> listeners{};
    std::optional<std::int64_t> not_before{};
    std::optional<std::int64_t> not_after{};
    bool shadow = false;
    bool keep = false;  // locks
};

// [global], in whatever files
struct GlobalSource {
    bool allow_monitor_commands = false;
    std::optional<Place> shadow{};  // where mode = "shadow" is written
    bool is_open = false;           // i_know_this_is_open
    proto::policy::LimitSet limits{};
};

// All files together: their order means nothing.
struct Source {
    std::vector<IdentitySource> identities{};
    std::vector<GroupSource> groups{};
    std::vector<RoleSource> roles{};
    std::vector<BindingSource> bindings{};
    GlobalSource global{};
};

}  // namespace virtgate::policy
