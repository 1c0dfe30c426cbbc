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
#include "policy/xml_calls.h"
#include "policy/xml_rule.h"
#include "proto/programs.h"

namespace virtgate::policy {

using proto::policy::AuditLevel;
using proto::policy::FlagRule;
using proto::policy::XmlRule;

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

void add_once(std::vector<XmlRule>& rules, XmlRule rule) {
    if (std::find(rules.begin(), rules.end(), rule) == rules.end()) rules.push_back(std::move(rule));
}

// True if no XML that fits can name whatever file of the host it likes.
bool confines(const std::vector<XmlRule>& rules) {
    return std::any_of(rules.begin(), rules.end(),
                       [](const XmlRule& rule) { return !rule.paths.empty() && !lies_in("/", rule.paths); });
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
        for (XmlRule& rule : included.xml) add_once(parts.xml, std::move(rule));
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
    if (role.xml) add_xml(role, parts, within.size() == 1);
}

// Rules about XML add up: including a role never gives more than it allows, whatever the own rule says.
void RoleSet::add_xml(const RoleSource& role, Parts& parts, bool is_own) {
    XmlRule rule;
    for (const Text& element : role.xml->forbid) rule.forbid.push_back(element.text);
    for (const Text& path : role.xml->paths) {
        rule.paths.push_back(path.text);
        for (const XmlRule& included : parts.xml)
            if (is_own && !included.paths.empty() && !lies_in(path.text, included.paths)) {
                complaints_.warning(path.at, fmt::format("\"{}\" lies outside of what an included role is "
                                                         "restricted to: this allows nothing more",
                                                         escape(path.text, 64)));
                break;
            }
    }
    add_once(parts.xml, std::move(rule));
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
    if (parts.xml.size() > proto::policy::k_xml_rules_max)
        complaints_.error(role.name.at,
                          fmt::format("the role \"{}\" has too many rules about XML", role.name.text));
    const auto takes = [](const auto& each) {
        return takes_xml(*each.first.program, *each.first.program->find(each.first.number));
    };
    if (role.xml && std::none_of(parts.rules.may.begin(), parts.rules.may.end(), takes))
        complaints_.warning(role.xml->at,
                            fmt::format("this changes nothing: the role \"{}\" allows no call that "
                                        "takes XML",
                                        role.name.text));
    grant.xml = std::move(parts.xml);
    made.limits = parts.limits;
    made.is_built_in = &role == &built_in();
    return made;
}

// Who may define a machine can give it the host's disk: that has to be said in words.
void RoleSet::warn_of_power(const RoleSource& role, const Parts& parts) {
    if (parts.rules.is_frank) return;
    const bool is_confined = confines(parts.xml);
    const Danger* plainest = nullptr;
    for (const auto& [key, ignored] : parts.rules.may) {
        const proto::ProcedureInfo& procedure = *key.program->find(key.number);
        if (parts.rules.deny.contains(key) || (is_confined && takes_xml(*key.program, procedure))) continue;
        const Danger* danger = danger_of(*key.program, procedure);
        // They come from one table, in its order.
        if (danger != nullptr && (plainest == nullptr || danger < plainest)) plainest = danger;
    }
    if (plainest != nullptr)
        complaints_.warning(role.name.at, fmt::format("role \"{}\" is root-equivalent: {} lets it {}",
                                                      role.name.text, plainest->permission, plainest->power));
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
