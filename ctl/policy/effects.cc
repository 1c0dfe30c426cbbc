// SPDX-License-Identifier: LGPL-2.1-or-later
// effects - what a policy comes to.
#include "ctl/policy/effects.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "ctl/policy/json.h"
#include "ctl/policy/words.h"
#include "libshared/base/bytes.h"
#include "policy/grant.h"
#include "policy/limits.h"
#include "proto/programs.h"

namespace virtgate::ctl::policy {

using proto::ProcedureInfo;
using proto::ProgramInfo;
using proto::policy::Grant;
using proto::policy::ObjectPattern;
using virtgate::policy::Table;

namespace {

std::vector<std::string> words_of(const std::vector<ObjectPattern>& patterns) {
    std::vector<std::string> words;
    for (const ObjectPattern& pattern : patterns) words.push_back(say_pattern(pattern));
    std::sort(words.begin(), words.end());
    return words;
}

std::string join(std::string_view before, const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words)
        text += (text.empty() ? std::string(before) : " ") + escape(word, 256);
    return text;
}

// The ways in which the grant allows the procedure with some flags only; one empty text if all of them do.
std::set<std::string> flags_of(const Grant& grant, const ProgramInfo& program,
                               const ProcedureInfo& procedure) {
    std::set<std::string> ways;
    for (const auto& rule : grant.conditions) {
        if (rule.program != program.number || rule.procedure != procedure.number) continue;
        std::string way;
        if (rule.forbidden != 0) way = "without " + say_flags(procedure.name, rule.forbidden);
        if (rule.needed != 0)
            way += (way.empty() ? "with " : " and with ") + say_flags(procedure.name, rule.needed);
        ways.insert(std::move(way));
    }
    if (ways.empty() || ways.contains({})) return {std::string{}};
    return ways;
}

void add_grant(const Grant& grant, Effect effect, std::set<Effect>& effects) {
    const Scope scope = scope_of(grant);
    for (const auto* program : proto::session_programs())
        for (const ProcedureInfo& procedure : program->procedures()) {
            const std::uint32_t number = procedure.number;
            effect.what = say_procedure(*program, procedure);
            effect.scope = scope;
            if (virtgate::policy::has(grant.deny, *program, number)) {
                effect.kind = Effect::Kind::deny;
                effects.insert(effect);
            }
            if (const auto bits = virtgate::policy::denied_flags(grant, *program, number); bits != 0) {
                effect.kind = Effect::Kind::deny;
                effect.flags = "with " + say_flags(procedure.name, bits);
                effects.insert(effect);
                effect.flags.clear();
            }
            if (!virtgate::policy::has(grant.may, *program, number)) continue;
            // What acts on nothing is not restricted by objects.
            if (virtgate::policy::shown_kinds(procedure) == 0) {
                effect.scope.everything = false;
                effect.scope.objects.clear();
                effect.scope.except.clear();
            }
            effect.kind = Effect::Kind::allow;
            for (const std::string& flags : flags_of(grant, *program, procedure)) {
                effect.flags = flags;
                effects.insert(effect);
            }
            effect.flags.clear();
        }
    effect.kind = Effect::Kind::redact;
    effect.scope = scope;
    for (const std::string& permission : grant.redact) {
        effect.what = permission;
        effects.insert(effect);
    }
}

std::string_view word_of(Effect::Kind kind) noexcept {
    switch (kind) {
        case Effect::Kind::allow: return "allow";
        case Effect::Kind::deny: return "deny";
        case Effect::Kind::redact: return "redact";
        case Effect::Kind::limit: return "limit";
    }
    return "";
}

}  // namespace

Scope scope_of(const Grant& grant) {
    Scope scope{.everything = grant.everything,
                .objects = words_of(grant.objects),
                .except = words_of(grant.except),
                .listeners = grant.listeners,
                .not_before = grant.not_before,
                .not_after = grant.not_after,
                .shadow = grant.shadow};
    std::sort(scope.listeners.begin(), scope.listeners.end());
    for (const auto& rule : grant.xml) {
        for (const std::string& element : rule.forbid) scope.constraints.push_back("no " + element);
        std::string paths;
        for (const std::string& path : rule.paths) paths += (paths.empty() ? "paths below " : ", ") + path;
        if (!paths.empty()) scope.constraints.push_back(std::move(paths));
    }
    std::sort(scope.constraints.begin(), scope.constraints.end());
    return scope;
}

std::string Scope::to_text() const {
    std::string text = everything ? " on everything" : "";
    text += join(" on ", objects);
    text += join(" except ", except);
    text += join(" with XML of ", constraints);
    text += join(" at ", listeners);
    if (not_before) text += " from " + say_time(*not_before);
    if (not_after) text += " until " + say_time(*not_after);
    if (shadow) text += " on probation";
    return text;
}

std::string Effect::to_text() const {
    if (kind == Kind::limit) return fmt::format("{} limit {} = {}", identity, what, value);
    return fmt::format("{} {} {}{}{}{}", identity, word_of(kind), what, flags.empty() ? "" : " ", flags,
                       scope.to_text());
}

Json to_json(const Effect& effect) {
    Json json{{"identity", effect.identity}, {"effect", word_of(effect.kind)}};
    if (effect.kind == Effect::Kind::limit) {
        json["limit"] = effect.what;
        json["value"] = effect.value;
        return json;
    }
    json[effect.kind == Effect::Kind::redact ? "permission" : "procedure"] = effect.what;
    if (!effect.flags.empty()) json["flags"] = effect.flags;
    const Scope& scope = effect.scope;
    if (scope.everything) json["everything"] = true;
    if (!scope.objects.empty()) json["objects"] = scope.objects;
    if (!scope.except.empty()) json["except"] = scope.except;
    if (!scope.constraints.empty()) json["xml"] = scope.constraints;
    if (!scope.listeners.empty()) json["listeners"] = scope.listeners;
    if (scope.not_before) json["not_before"] = say_time(*scope.not_before);
    if (scope.not_after) json["not_after"] = say_time(*scope.not_after);
    if (scope.shadow) json["shadow"] = true;
    return json;
}

std::vector<Effect> effects_of(const Table::Rule& rule) {
    std::set<Effect> effects;
    for (const Grant& grant : rule.grants) add_grant(grant, {.identity = rule.name}, effects);
    for (const auto& word : virtgate::policy::limit_words())
        if (const auto& value = rule.limits.*word.member)
            effects.insert({.identity = rule.name,
                            .kind = Effect::Kind::limit,
                            .what = std::string(word.name),
                            .value = *value});
    return {effects.begin(), effects.end()};
}

Difference compare(const Table& before, const Table& after) {
    std::set<std::string_view> names;
    for (const auto* table : {&before, &after})
        for (const auto& rule : table->rules()) names.insert(rule.name);
    Difference difference;
    for (const std::string_view name : names) {
        const auto* old_rule = before.find(name);
        const auto* new_rule = after.find(name);
        const auto had = old_rule != nullptr ? effects_of(*old_rule) : std::vector<Effect>{};
        const auto has = new_rule != nullptr ? effects_of(*new_rule) : std::vector<Effect>{};
        std::set_difference(had.begin(), had.end(), has.begin(), has.end(),
                            std::back_inserter(difference.gone));
        std::set_difference(has.begin(), has.end(), had.begin(), had.end(),
                            std::back_inserter(difference.fresh));
    }
    return difference;
}

}  // namespace virtgate::ctl::policy
