// SPDX-License-Identifier: LGPL-2.1-or-later
// words - from the words of a role to procedures and flags.
#include "policy/words.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"
#include "policy/flag_names.h"
#include "policy/groups.h"
#include "policy/touch.h"
#include "proto/programs.h"

namespace virtgate::policy {

using proto::ProcedureInfo;
using proto::ProgramInfo;
using proto::Rule;

namespace {

constexpr std::string_view k_proc = "proc:", k_perm = "perm:", k_flag = "flag:", k_event = "event:";
constexpr std::string_view k_flags_path = "flags";

std::span<const ProgramInfo* const> programs() { return proto::session_programs(); }

bool is_pattern(std::string_view name) noexcept { return name.ends_with('*'); }

bool fits(std::string_view pattern, std::string_view name) noexcept {
    return is_pattern(pattern) ? name.starts_with(pattern.substr(0, pattern.size() - 1)) : name == pattern;
}

// "remote.DOMAIN_CREATE": its program in all versions, none if there is no such program; and the lower-case name. The program
// remote where none is named.
std::pair<std::vector<const ProgramInfo*>, std::string> split(std::string_view name) {
    const auto dot = name.find('.');
    if (dot == name.npos) return {{&proto::remote_program()}, to_lower(name)};
    std::vector<const ProgramInfo*> versions;
    for (const ProgramInfo* program : programs())
        if (program->name == to_lower(name.substr(0, dot))) versions.push_back(program);
    return {std::move(versions), to_lower(name.substr(dot + 1))};
}

// libvirt lets readers change the scheduler's parameters if they are no readers by their connection.
bool is_misjudged(const ProcedureInfo& procedure) noexcept {
    return procedure.name == "domain_set_scheduler_parameters";
}

// The flags with which none of the rules that are not fulfilled applies; none if one always applies.
std::optional<FlagBits> flags_within(const ProcedureInfo& procedure,
                                     const std::set<std::pair<std::string, std::string>>& permissions) {
    FlagBits bits;
    for (const Rule& rule : procedure.rules) {
        const std::string permission(is_misjudged(procedure) ? "write" : rule.permission);
        if (permissions.contains({std::string(rule.object), permission})) continue;
        if (rule.when.empty()) return std::nullopt;
        for (const proto::Test& test : rule.when) {
            if (test.path != k_flags_path || test.kind == proto::layout::TestKind::is) return std::nullopt;
            (test.kind == proto::layout::TestKind::has ? bits.forbidden : bits.needed) |= test.value;
        }
    }
    if ((bits.forbidden & bits.needed) != 0) return std::nullopt;
    return bits;
}

// The flags of all procedures of these programs that fit.
std::set<std::string_view> known_flags(const std::vector<const ProgramInfo*>& of, std::string_view name) {
    std::set<std::string_view> known;
    for (const ProgramInfo* each : of)
        for (const ProcedureInfo& procedure : each->procedures())
            if (fits(name, procedure.name))
                for (const std::string_view one : flags_of(procedure.name)) known.insert(one);
    return known;
}

void add(std::vector<FlagBits>& all, FlagBits bits) {
    if (std::find(all.begin(), all.end(), bits) == all.end()) all.push_back(bits);
}

}  // namespace

std::string list_programs() {
    std::vector<std::string_view> names;
    for (const ProgramInfo* program : programs())
        if (names.empty() || names.back() != program->name) names.push_back(program->name);
    std::string list;
    for (std::size_t i = 0; i < names.size(); ++i)
        list += fmt::format("{}{}", i == 0 ? "" : i + 1 == names.size() ? " or " : ", ", names[i]);
    return list;
}

Words::Words(const std::vector<GroupSource>& groups, bool passthrough, Complaints& complaints)
    : passthrough_(passthrough), complaints_(complaints) {
    for (const GroupSource& group : groups) {
        const auto [old, is_new] = groups_.emplace(group.name.text, &group);
        if (!is_new)
            complaints_.error(group.name.at,
                              fmt::format("the group \"{}\" is defined already, in {}:{}", group.name.text,
                                          escape(old->second->name.at.file), old->second->name.at.line));
        const auto& built_in = known_groups();
        if (std::find(built_in.begin(), built_in.end(), "@" + group.name.text) != built_in.end())
            complaints_.error(group.name.at, fmt::format("the group \"{}\" is built in", group.name.text));
    }
}

void Words::allow(const Text& word, RoleRules& rules) {
    if (word.text.starts_with(k_flag))
        return error(word.at,
                     "flags are allowed with their procedure: write this under \"deny\" or "
                     "\"require\"");
    const Meaning& meaning = meaning_of(word);
    for (const auto& [key, conditions] : meaning.procedures)
        for (const FlagBits& bits : conditions) add(rules.may[key], bits);
    rules.permissions.insert(meaning.permissions.begin(), meaning.permissions.end());
    rules.is_frank = rules.is_frank || meaning.is_frank;
}

void Words::deny(const Text& word, RoleRules& rules) {
    if (word.text.starts_with(k_flag)) return find_flags(word, rules.denied_flags);
    const Meaning& meaning = meaning_of(word);
    for (const auto& [key, conditions] : meaning.procedures) rules.deny.insert(key);
    if (meaning.permissions.empty()) return;
    // Whatever may need the permission; where it depends on flags, only with those.
    for (const ProgramInfo* program : programs())
        for (const ProcedureInfo& procedure : program->procedures())
            for (const Rule& rule : procedure.rules) {
                if (!meaning.permissions.contains({std::string(rule.object), std::string(rule.permission)}))
                    continue;
                const bool by_flags =
                    !rule.when.empty() &&
                    std::all_of(rule.when.begin(), rule.when.end(), [](const proto::Test& test) {
                        return test.path == k_flags_path && test.kind == proto::layout::TestKind::has;
                    });
                if (!by_flags) rules.deny.insert({program, procedure.number});
                for (const proto::Test& test : rule.when)
                    if (by_flags) rules.denied_flags[{program, procedure.number}] |= test.value;
            }
}

void Words::require(const Text& word, RoleRules& rules) {
    if (!word.text.starts_with(k_flag))
        return error(word.at, "only flags can be required: flag:PROCEDURE:FLAG");
    find_flags(word, rules.required);
}

void Words::finish(RoleRules& rules, bool passthrough) {
    if (!rules.permissions.empty())
        for (const ProgramInfo* program : programs())
            for (const ProcedureInfo& procedure : program->procedures()) {
                if (procedure.kind != ProcedureInfo::Kind::call || is_denied_for_good(*program, procedure) ||
                    procedure.rules.empty() || (is_passthrough(*program, procedure) && !passthrough))
                    continue;
                if (const auto bits = flags_within(procedure, rules.permissions))
                    add(rules.may[{program, procedure.number}], *bits);
            }
    for (auto& [key, conditions] : rules.may) {
        const auto required = rules.required.find(key);
        if (required != rules.required.end())
            for (FlagBits& bits : conditions) bits.needed |= required->second;
    }
}

void Words::report_unused() {
    for (const auto& [name, group] : groups_)
        if (!used_.contains(name))
            warning(group->name.at, fmt::format("no role uses the group \"{}\"", name));
}

// Roles repeat themselves and each other, and looking a word up may mean to look at every procedure. What is wrong is not
// kept: it is told wherever it is written.
const Words::Meaning& Words::meaning_of(const Text& word) {
    if (const auto known = meanings_.find(word.text); known != meanings_.end()) return known->second;
    Meaning meaning;
    std::vector<std::string_view> within;
    is_wrong_ = false;
    if (!complaints_.is_full()) find(word, meaning, within);
    if (!is_wrong_) return meanings_.emplace(word.text, std::move(meaning)).first->second;
    wrong_ = std::move(meaning);
    return wrong_;
}

void Words::find(const Text& word, Meaning& meaning, std::vector<std::string_view>& within) {
    if (word.text.starts_with('@')) return find_group(word, meaning, within);
    if (word.text.starts_with(k_proc)) return find_procedure(word, meaning, false);
    if (word.text.starts_with(k_event)) return find_procedure(word, meaning, true);
    if (word.text.starts_with(k_perm)) return find_permission(word, meaning);
    const auto [versions, name] = split(word.text);
    const bool is_name = std::any_of(
        versions.begin(), versions.end(),
        [&, called = std::string_view(name)](const ProgramInfo* each) { return each->find(called); });
    error(word.at, fmt::format("\"{}\" is no permission{}", escape(word.text, 64),
                               is_name ? fmt::format(" (did you mean \"proc:{}.{}\"?)",
                                                     versions.front()->name, to_upper(name))
                                       : ": write @GROUP, proc:PROGRAM.NAME, perm:OBJECT:PERMISSION, "
                                         "event:NAME or flag:PROCEDURE:FLAG"));
}

void Words::find_group(const Text& word, Meaning& meaning, std::vector<std::string_view>& within) {
    const std::string_view name = std::string_view(word.text).substr(1);
    const auto own = groups_.find(name);
    if (own == groups_.end()) {
        std::vector<std::string> known;
        for (const std::string_view each : known_groups()) known.emplace_back(each);
        for (const auto& [each, ignored] : groups_) known.push_back("@" + std::string(each));
        if (!visit_group(
                word.text, passthrough_,
                [&](const ProgramInfo& program, const ProcedureInfo& procedure, std::uint64_t forbidden) {
                    add(meaning.procedures[{&program, procedure.number}], {forbidden, 0});
                }))
            error(word.at, fmt::format("unknown procedure group \"{}\"{}", escape(word.text),
                                       did_you_mean(word.text, known)));
        meaning.is_frank = meaning.is_frank || word.text == k_admin_group;
        return;
    }
    used_.insert(own->first);
    if (std::find(within.begin(), within.end(), name) != within.end())
        return error(word.at, fmt::format("the group \"{}\" contains itself", name));
    within.push_back(own->first);
    for (const Text& each : own->second->procedures) find(each, meaning, within);
    within.pop_back();
}

void Words::find_procedure(const Text& word, Meaning& meaning, bool events) {
    const std::string_view prefix = events ? k_event : k_proc;
    const std::string_view spelt = std::string_view(word.text).substr(prefix.size());
    const auto [versions, name] = split(spelt);
    const auto kind = events ? ProcedureInfo::Kind::event : ProcedureInfo::Kind::call;
    if (versions.empty())
        return error(word.at,
                     fmt::format("\"{}\" begins with no program: {}", escape(spelt, 64), list_programs()));
    bool found = false;
    std::set<std::string> known;
    for (const ProgramInfo* program : versions)
        for (const ProcedureInfo& procedure : program->procedures()) {
            if (procedure.kind != kind) continue;
            known.insert(to_upper(procedure.name));
            if (!fits(name, procedure.name)) continue;
            found = true;
            const bool is_exact = !is_pattern(name);
            if (is_denied_for_good(*program, procedure)) {
                if (is_exact)
                    error(word.at, fmt::format("{} can be allowed to nobody", to_upper(procedure.name)));
            } else if (is_passthrough(*program, procedure) && !passthrough_) {
                if (is_exact)
                    error(word.at, fmt::format("{} passes on anything: it needs \"allow_monitor_commands = "
                                               "true\" under [global]",
                                               to_upper(procedure.name)));
            } else {
                add(meaning.procedures[{program, procedure.number}], {});
            }
        }
    if (!found)
        error(word.at, fmt::format("{} has no {} \"{}\"{}", versions.front()->name, events ? "event" : "call",
                                   escape(to_upper(name), 64), did_you_mean(to_upper(name), known)));
}

void Words::find_permission(const Text& word, Meaning& meaning) {
    static const std::set<std::string> known = [] {
        std::set<std::string> all;
        for (const ProgramInfo* program : programs())
            for (const ProcedureInfo& procedure : program->procedures())
                for (const auto& rules : {procedure.rules, procedure.filters})
                    for (const Rule& rule : rules)
                        all.insert(fmt::format("{}:{}", rule.object, rule.permission));
        return all;
    }();
    const std::string name = word.text.substr(k_perm.size());
    if (!known.contains(name))
        return error(word.at, fmt::format("libvirt has no permission \"{}\"{}", escape(name, 64),
                                          did_you_mean(name, known)));
    const auto colon = name.find(':');
    meaning.permissions.emplace(name.substr(0, colon), name.substr(colon + 1));
}

void Words::find_flags(const Text& word, std::map<ProcedureKey, std::uint64_t>& flags) {
    const std::string_view spelt = std::string_view(word.text).substr(k_flag.size());
    const auto colon = spelt.find(':');
    if (colon == spelt.npos)
        return error(word.at, fmt::format("\"{}\" has to be flag:PROCEDURE:FLAG", escape(word.text, 64)));
    const auto [versions, name] = split(spelt.substr(0, colon));
    const std::string flag = to_upper(spelt.substr(colon + 1));
    const std::string shown = flag.starts_with("0X") ? to_lower(flag) : flag;
    bool is_procedure = false, has_flags = false, found = false;
    if (complaints_.is_full()) return;
    for (const ProgramInfo* each : versions) {
        for (const ProcedureInfo& procedure : each->procedures()) {
            if (procedure.kind != ProcedureInfo::Kind::call || !fits(name, procedure.name)) continue;
            is_procedure = true;
            if (!has_flags_argument(*each, procedure)) continue;
            has_flags = true;
            if (const auto bits = find_flag(procedure.name, shown)) {
                flags[{each, procedure.number}] |= *bits;
                found = true;
            }
        }
    }
    if (!is_procedure)
        error(word.at, fmt::format("there is no call \"{}\"", escape(to_upper(name), 64)));
    else if (!has_flags)
        warning(word.at, fmt::format("{} has no flags: this changes nothing", to_upper(name)));
    else if (!found)
        error(word.at, fmt::format("unknown flag \"{}\"{}", escape(shown, 64),
                                   did_you_mean(shown, known_flags(versions, name))));
}

}  // namespace virtgate::policy
