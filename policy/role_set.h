// SPDX-License-Identifier: LGPL-2.1-or-later
// role_set - the roles of a policy, with includes followed and words looked up: a grant without its objects.
//
// Trust:  the files are the administrator's.
// Owns:   the compiled roles; they refer to nothing else.
#pragma once

#include <map>
#include <string_view>
#include <vector>

#include "policy/complaints.h"
#include "policy/source.h"
#include "policy/touch.h"
#include "policy/words.h"

namespace virtgate::policy {

struct CompiledRole {
    proto::policy::Grant grant{};  // what every binding of the role has in common
    proto::policy::LimitSet limits{};
    KindMask acts_on = 0;  // kinds of which its calls need an object
    bool is_built_in = false;
};

class RoleSet {
public:
    // Compiles all roles of `source`. What is wrong goes to `complaints`.
    RoleSet(const Source& source, Complaints& complaints);

    // The role, or null.
    [[nodiscard]] const CompiledRole* find(std::string_view name) const;
    [[nodiscard]] std::vector<std::string_view> names() const;

private:
    // What a role and its includes say.
    struct Parts {
        RoleRules rules{};
        proto::policy::LimitSet limits{};
        std::optional<proto::policy::AuditLevel> audit{};
        std::set<std::string> redact{};
        std::vector<proto::policy::XmlRule> xml{};  // each once
    };
    void collect(const RoleSource& role, Words& words, Parts& parts, std::vector<std::string_view>& within);
    CompiledRole finish(const RoleSource& role, Parts parts);
    void add_xml(const RoleSource& role, Parts& parts, bool is_own);
    void warn_of_power(const RoleSource& role, const Parts& parts);

    std::map<std::string_view, const RoleSource*> sources_;
    std::map<std::string_view, CompiledRole> roles_;
    const bool passthrough_;
    Complaints& complaints_;
};

}  // namespace virtgate::policy
