// SPDX-License-Identifier: LGPL-2.1-or-later
// origins - where in the policy files something comes from.
#include "ctl/policy/origins.h"

#include <algorithm>

#include "policy/groups.h"
#include "policy/touch.h"

namespace virtgate::ctl::policy {

using proto::policy::Grant;
using virtgate::policy::Place;
using virtgate::policy::ProcedureKey;
using virtgate::policy::RoleRules;
using virtgate::policy::RoleSource;
using virtgate::policy::Text;

namespace {

const RoleSource& built_in() {
    static const RoleSource k_admin{.name = {"admin", {}},
                                    .allow = {{std::string(virtgate::policy::k_admin_group), {}}}};
    return k_admin;
}

template <class Words>
std::vector<RoleWord> to_role_words(const Words& words) {
    std::vector<RoleWord> result;
    for (const auto& word : words) result.push_back({word.text->text, word.text->at, std::string(word.role)});
    return result;
}

}  // namespace

Origins::Origins(const virtgate::policy::Source& source)
    : source_(source), words_(source.groups, source.global.allow_monitor_commands, ignored_) {
    words_.be_silent(true);
}

void Origins::collect(std::string_view name, List list, std::vector<Word>& words,
                      std::vector<std::string_view>& seen) const {
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) return;
    seen.push_back(name);
    const auto found = std::find_if(source_.roles.begin(), source_.roles.end(),
                                    [&](const RoleSource& each) { return each.name.text == name; });
    const RoleSource& role = found != source_.roles.end() ? *found : built_in();
    if (role.name.text != name) return;
    const auto& own = list == List::allow ? role.allow : list == List::deny ? role.deny : role.require;
    for (const Text& word : own) words.push_back({&word, role.name.text});
    for (const Text& included : role.include) collect(included.text, list, words, seen);
}

std::vector<Origins::Word> Origins::words_of(std::string_view role, List list) const {
    std::vector<Word> words;
    std::vector<std::string_view> seen;
    collect(role, list, words, seen);
    return words;
}

const RoleRules& Origins::meaning_of(const Text& word, List list) {
    const auto [entry, is_new] = meanings_.try_emplace({list, word.text});
    if (!is_new) return entry->second;
    if (list == List::allow) words_.allow(word, entry->second);
    if (list == List::deny) words_.deny(word, entry->second);
    if (list == List::require) words_.require(word, entry->second);
    return entry->second;
}

std::vector<RoleWord> Origins::allows(std::string_view role, const ProcedureKey& key) {
    const std::vector<Word> all = words_of(role, List::allow);
    RoleRules together;
    std::vector<Word> found;
    for (const Word& word : all) {
        const RoleRules& meaning = meaning_of(*word.text, List::allow);
        together.permissions.insert(meaning.permissions.begin(), meaning.permissions.end());
        if (meaning.may.contains(key)) found.push_back(word);
    }
    // Permissions count together: a procedure may need several of them.
    if (!together.permissions.empty())
        virtgate::policy::Words::finish(together, source_.global.allow_monitor_commands);
    if (!together.may.contains(key)) return to_role_words(found);
    for (const Word& word : all) {
        const auto& permissions = meaning_of(*word.text, List::allow).permissions;
        const auto& rules = key.program->find(key.number)->rules;
        if (std::any_of(rules.begin(), rules.end(), [&](const proto::Rule& rule) {
                return permissions.contains({std::string(rule.object), std::string(rule.permission)});
            }))
            found.push_back(word);
    }
    return to_role_words(found);
}

std::vector<RoleWord> Origins::denies(std::string_view role, const ProcedureKey& key, std::uint64_t flags) {
    std::vector<Word> found;
    for (const Word& word : words_of(role, List::deny)) {
        const RoleRules& meaning = meaning_of(*word.text, List::deny);
        const auto bits = meaning.denied_flags.find(key);
        if (meaning.deny.contains(key) || (bits != meaning.denied_flags.end() && (bits->second & flags) != 0))
            found.push_back(word);
    }
    return to_role_words(found);
}

std::vector<RoleWord> Origins::needs(std::string_view role, const ProcedureKey& key) {
    std::vector<Word> found;
    for (const Word& word : words_of(role, List::require))
        if (meaning_of(*word.text, List::require).required.contains(key)) found.push_back(word);
    return to_role_words(found);
}

Place Origins::place_of(const Grant& grant) const {
    for (const auto& binding : source_.bindings) {
        if (binding.at.file != grant.file || binding.at.line != grant.line) continue;
        for (const Text& role : binding.roles)
            if (role.text == grant.role) return role.at;
    }
    return {.file = grant.file, .line = grant.line};
}

Place Origins::place_of(std::string_view identity) const {
    for (const auto& each : source_.identities)
        if (each.name.text == identity) return each.name.at;
    return {};
}

}  // namespace virtgate::ctl::policy
