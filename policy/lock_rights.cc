// SPDX-License-Identifier: LGPL-2.1-or-later
// lock_rights - what of an identity's rights is about locks.
#include "policy/lock_rights.h"

#include <algorithm>

#include "proto/programs.h"

namespace virtgate::policy {

using proto::policy::FlagRule;
using proto::policy::Grant;
using proto::policy::ObjectPattern;

namespace {

bool is_about_locks(const proto::who::Ceiling& ceiling) noexcept {
    return std::any_of(ceiling.programs.begin(), ceiling.programs.end(),
                       [](const auto& one) { return one.program == proto::lock_program().number; });
}

bool is_about_locks(const FlagRule& rule) noexcept { return rule.program == proto::lock_program().number; }

bool is_about_locks(const Grant& grant) noexcept {
    return is_about_locks(grant.may) || is_about_locks(grant.deny) ||
           std::any_of(grant.denied_flags.begin(), grant.denied_flags.end(),
                       [](const FlagRule& rule) { return is_about_locks(rule); });
}

void keep_locks(proto::who::Ceiling& ceiling) {
    std::erase_if(ceiling.programs,
                  [](const auto& one) { return one.program != proto::lock_program().number; });
}

void keep_locks(std::vector<FlagRule>& rules) {
    std::erase_if(rules, [](const FlagRule& rule) { return !is_about_locks(rule); });
}

void keep_locks(std::vector<ObjectPattern>& patterns) {
    std::erase_if(patterns, [](const ObjectPattern& pattern) {
        return pattern.kind != proto::policy::ObjectKind::object_lock;
    });
}

}  // namespace

bool may_lock(const proto::policy::IdentityRights& rights) noexcept {
    return std::any_of(rights.grants.begin(), rights.grants.end(),
                       [](const Grant& grant) { return !grant.shadow && is_about_locks(grant.may); });
}

proto::policy::IdentityRights lock_rights(const proto::policy::IdentityRights& rights) {
    proto::policy::IdentityRights kept{.generation = rights.generation,
                                       .identity = rights.identity,
                                       .grants = {},
                                       .limits = {},
                                       .shadowed = proto::policy::Probation::probation_nobody};
    for (const Grant& grant : rights.grants) {
        if (!is_about_locks(grant)) continue;
        Grant& one = kept.grants.emplace_back(grant);
        keep_locks(one.may);
        keep_locks(one.deny);
        keep_locks(one.conditions);
        keep_locks(one.denied_flags);
        keep_locks(one.objects);
        keep_locks(one.except);
        one.redact = {};
        one.xml = {};
    }
    return kept;
}

}  // namespace virtgate::policy
