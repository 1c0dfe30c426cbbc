// SPDX-License-Identifier: LGPL-2.1-or-later
// role_set - the roles of a policy.
#include "policy/role_set.h"

#include <fmt/format.h>

#include <algorithm>

#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "policy/group_table.h"
#include "policy/groups.h"
#include "policy/limits.h"
#include "proto/programs.h"

namespace virtgate::policy {

using proto::policy::AuditLevel;
using proto::policy::FlagRule;

namespace {

constexpr std::string_view k_built_in_role = "admin";

const RoleSource& built_in() {
    static const RoleSource k_admin{.name = {std::string(k_built_in_role), {}},
                                    .allow = {{std::string(k_admin_group), {}}}};
    return k_admin;
}

FlagRule rule_of(const ProcedureKey& key, const FlagBits& bits) {
    return {key.program->number, key.program->version, key.number, bits.forbidden, bits.needed};
}

}  // namespace

RoleSet::RoleSet(const Source& source, Complaints& complaints)
    : passthrough_(source.global.allow_monitor_commands), complaints_(complaints) {
    sources_.emplace(k_built_in_role, &built_in());
    for (const RoleSource& role : source.roles) {
        const auto [old, is_new] = sources_.emplace(role.name.text, &role);
        if (is_new) continue;
        const Place& first = old->second->name.at;
        complaints_.error(role.name.at, old->second == &built_in()
                                            ? fmt::format("the role \"{}\" is built in", role.name.text)
                                            : fmt::format("the role \"{}\" is defined already, in {}:{}",
                                                          role.name.text, escape(first.file), first.line));
    }
    Words words(source.groups, passthrough_, complaints_);
    for (const auto& [name, role] : sources_) {
        Parts parts;
        std::vector<std::string_view> within{name};
        collect(*role, words, parts, within);
        Words::finish(parts.rules, passthrough_);
        roles_.emplace(name, finish(*role, std::move(parts)));
    }
    // Whose words are wrong may be meant to use it.
    if (complaints_.errors() == 0) words.report_unused();
}

// A complaint about an included role is made once, where it is read for itself.
void RoleSet::collect(const RoleSource& role, Words& words, Parts& parts,
                      std::vector<std::string_view>& within) {
    std::optional<AuditLevel> audit;
    for (const Text& name : role.include) {
        const auto found = sources_.find(name.text);
        if (found == sources_.end()) {
            if (within.size() == 1)
                complaints_.error(name.at, fmt::format("unknown role \"{}\"{}", escape(name.text),
                                                       did_you_mean(name.text, names())));
            continue;
        }
        if (std::find(within.begin(), within.end(), found->first) != within.end()) {
            if (within.size() == 1 || found->first == within.front())
                complaints_.error(name.at, fmt::format("the role \"{}\" includes itself", found->first));
            continue;
        }
        within.push_back(found->first);
        Parts included;
        collect(*found->second, words, included, within);
        within.pop_back();
        for (auto& [key, conditions] : included.rules.may)
            for (const FlagBits& bits : conditions) parts.rules.may[key].push_back(bits);
        parts.rules.deny.merge(included.rules.deny);
        for (const auto& [key, bits] : included.rules.denied_flags) parts.rules.denied_flags[key] |= bits;
        for (const auto& [key, bits] : included.rules.required) parts.rules.required[key] |= bits;
        parts.rules.permissions.merge(included.rules.permissions);
        parts.rules.is_frank = parts.rules.is_frank || included.rules.is_frank;
        parts.redact.merge(included.redact);
        widen(parts.limits, included.limits);
        if (included.audit) audit = audit ? std::max(*audit, *included.audit) : included.audit;
    }
    words.be_silent(within.size() != 1);
    for (const Text& word : role.allow) words.allow(word, parts.rules);
    for (const Text& word : role.deny) words.deny(word, parts.rules);
    for (const Text& word : role.require) words.require(word, parts.rules);
    words.be_silent(false);
    for (const Text& word : role.redact) parts.redact.insert(word.text);
    override_with(parts.limits, role.limits);
    parts.audit = role.audit ? role.audit : audit;
}

CompiledRole RoleSet::finish(const RoleSource& role, Parts parts) {
    CompiledRole made;
    proto::policy::Grant& grant = made.grant;
    grant.role = role.name.text;
    for (const auto& [key, conditions] : parts.rules.may) {
        add_to(grant.may, *key.program, key.number);
        const auto& info = *key.program->find(key.number);
        if (info.kind == proto::ProcedureInfo::Kind::call) made.acts_on |= touched_kinds(info);
        if (std::find(conditions.begin(), conditions.end(), FlagBits{}) != conditions.end()) continue;
        for (const FlagBits& bits : conditions) grant.conditions.push_back(rule_of(key, bits));
    }
    for (const ProcedureKey& key : parts.rules.deny) add_to(grant.deny, *key.program, key.number);
    for (const auto& [key, bits] : parts.rules.denied_flags)
        grant.denied_flags.push_back(rule_of(key, {bits, 0}));
    if (grant.conditions.size() > proto::policy::k_flag_rules_max ||
        grant.denied_flags.size() > proto::policy::k_flag_rules_max)
        complaints_.error(role.name.at,
                          fmt::format("the role \"{}\" has too many rules for flags", role.name.text));
    grant.audit = parts.audit.value_or(AuditLevel::audit_denied);
    grant.redact.assign(parts.redact.begin(), parts.redact.end());
    if (&role != &built_in()) warn_of_power(role, parts);
    made.limits = parts.limits;
    made.is_built_in = &role == &built_in();
    return made;
}

// Who may define a machine can give it the host's disk: that has to be said in words.
void RoleSet::warn_of_power(const RoleSource& role, const Parts& parts) {
    if (parts.rules.is_frank) return;
    std::vector<std::string_view> permissions;
    for (const auto& [key, ignored] : parts.rules.may) {
        if (key.program != &proto::remote_program() || parts.rules.deny.contains(key)) continue;
        const std::string_view permission = danger_of(key.program->find(key.number)->name);
        if (!permission.empty() &&
            std::find(permissions.begin(), permissions.end(), permission) == permissions.end())
            permissions.push_back(permission);
    }
    if (permissions.empty()) return;
    // The plainest of them is enough.
    const auto plain = std::find(permissions.begin(), permissions.end(), "domain:write");
    complaints_.warning(
        role.name.at, fmt::format("role \"{}\" is root-equivalent: {} lets it name any host file",
                                  role.name.text, plain != permissions.end() ? *plain : permissions.front()));
}

const CompiledRole* RoleSet::find(std::string_view name) const {
    const auto found = roles_.find(name);
    return found == roles_.end() ? nullptr : &found->second;
}

std::vector<std::string_view> RoleSet::names() const {
    std::vector<std::string_view> names;
    for (const auto& [name, ignored] : sources_) names.push_back(name);
    return names;
}

}  // namespace virtgate::policy
