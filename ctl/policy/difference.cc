// SPDX-License-Identifier: LGPL-2.1-or-later
// difference - what a change of the policy changes.
#include "ctl/policy/difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "libshared/base/bytes.h"
#include "policy/grant.h"
#include "policy/limits.h"
#include "proto/programs.h"

namespace virtgate::ctl::policy {

using proto::policy::Grant;
using proto::policy::ObjectPattern;
using proto::policy::PatternKind;

namespace {

using Lines = std::set<std::string>;

std::string patterns_of(const std::vector<ObjectPattern>& patterns) {
    std::vector<std::string> words;
    for (const ObjectPattern& pattern : patterns)
        words.push_back(fmt::format(
            "{}={}{}", virtgate::policy::to_text(static_cast<virtgate::policy::ObjectKind>(pattern.kind)),
            pattern.how == PatternKind::pattern_uuid ? "uuid:" : "", escape(pattern.text, 256)));
    std::sort(words.begin(), words.end());
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
    return text;
}

// On what, when and how: what two grants of the same call can differ in.
std::string scope_of(const Grant& grant) {
    std::string text = grant.everything ? " on everything" : "";
    if (!grant.objects.empty()) text += " on " + patterns_of(grant.objects);
    if (!grant.except.empty()) text += " except " + patterns_of(grant.except);
    for (const std::string& listener : grant.listeners) text += " at " + listener;
    if (grant.not_before) text += fmt::format(" from {}", *grant.not_before);
    if (grant.not_after) text += fmt::format(" until {}", *grant.not_after);
    if (grant.shadow) text += " on probation";
    return text;
}

void add_lines(const virtgate::policy::Table::Rule& rule, Lines& lines) {
    for (const Grant& grant : rule.grants) {
        const std::string scope = scope_of(grant);
        for (const auto* program : {&proto::remote_program(), &proto::qemu_program(), &proto::lxc_program()})
            for (const auto& procedure : program->procedures()) {
                std::string name = fmt::format("{}.{}", program->name, procedure.name);
                std::transform(name.begin(), name.end(), name.begin(),
                               [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
                // What acts on nothing is not restricted by objects.
                const bool acts = virtgate::policy::shown_kinds(procedure) != 0;
                const std::string where =
                    acts || grant.shadow || !grant.listeners.empty() ? scope : std::string{};
                std::string flags;
                for (const auto& each : grant.conditions)
                    if (each.program == program->number && each.procedure == procedure.number)
                        flags += fmt::format(" flags -0x{:x} +0x{:x}", each.forbidden, each.needed);
                if (virtgate::policy::has(grant.may, *program, procedure.number))
                    lines.insert(fmt::format("{} {}{}{}", rule.name, name, flags, where));
                if (virtgate::policy::has(grant.deny, *program, procedure.number))
                    lines.insert(fmt::format("{} not {}{}", rule.name, name, scope));
                if (const auto bits = virtgate::policy::denied_flags(grant, *program, procedure.number);
                    bits != 0)
                    lines.insert(fmt::format("{} not {} with flags 0x{:x}{}", rule.name, name, bits, scope));
            }
    }
    for (const auto& word : virtgate::policy::limit_words())
        if (const auto& value = rule.limits.*word.member)
            lines.insert(fmt::format("{} limit {} = {}", rule.name, word.name, *value));
}

Lines lines_of(const virtgate::policy::Table& table) {
    Lines lines;
    for (const auto& rule : table.rules()) add_lines(rule, lines);
    return lines;
}

}  // namespace

std::string compare(const virtgate::policy::Table& before, const virtgate::policy::Table& after) {
    const Lines old_lines = lines_of(before), new_lines = lines_of(after);
    std::string text;
    for (const std::string& line : old_lines)
        if (!new_lines.contains(line)) text += fmt::format("- {}\n", line);
    for (const std::string& line : new_lines)
        if (!old_lines.contains(line)) text += fmt::format("+ {}\n", line);
    return text;
}

std::string show(const virtgate::policy::Table::Rule& rule) {
    Lines lines;
    add_lines(rule, lines);
    std::string text;
    for (const std::string& line : lines) text += line + "\n";
    return text;
}

}  // namespace virtgate::ctl::policy
