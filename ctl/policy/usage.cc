// SPDX-License-Identifier: LGPL-2.1-or-later
// usage - which parts of a policy somebody has used, and which nobody has.
#include "ctl/policy/usage.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "ctl/policy/history.h"
#include "ctl/policy/question.h"
#include "ctl/policy/words.h"
#include "libshared/base/bytes.h"
#include "proto/programs.h"

namespace virtgate::ctl::policy {

using audit::Entry;
using audit::Moment;
using proto::policy::AuditLevel;
using proto::policy::Grant;
using virtgate::policy::ProcedureKey;
using virtgate::policy::Table;

struct Usage::Person {
    const Table::Rule& rule;
    std::map<std::string, virtgate::policy::Rights> rights{};  // by listener
    std::vector<std::set<ProcedureKey>> used{};                // by grant
};

namespace {

// True if a call that is allowed leaves a record.
bool is_recorded(AuditLevel level, const proto::ProcedureInfo& procedure) noexcept {
    return level == AuditLevel::audit_all ||
           (level == AuditLevel::audit_writes && procedure.readonly != proto::ReadOnly::allowed);
}

std::string_view file_name(std::string_view path) noexcept { return path.substr(path.rfind('/') + 1); }

// True if a record's rule ("20-bindings.toml:12") is the binding of the grant. Directories may be others than
// those of the daemon.
bool is_rule_of(const Entry& entry, const Grant& grant) {
    return entry.role == grant.role && entry.rule &&
           file_name(*entry.rule) == fmt::format("{}:{}", file_name(grant.file), grant.line);
}

std::vector<ProcedureKey> calls_of(const Grant& grant) {
    std::vector<ProcedureKey> keys;
    for (const auto* program : proto::session_programs())
        for (const auto& procedure : program->procedures())
            if (procedure.kind == proto::ProcedureInfo::Kind::call &&
                virtgate::policy::has(grant.may, *program, procedure.number))
                keys.push_back({program, procedure.number});
    return keys;
}

// Sorts what is unused by the words that allow it.
void add_words(const std::vector<ProcedureKey>& all, const std::set<ProcedureKey>& unused, const Grant& grant,
               Origins& origins, std::vector<UnusedWord>& words) {
    for (const ProcedureKey& key : all)
        for (const RoleWord& word : origins.allows(grant.role, key)) {
            auto entry = std::find_if(words.begin(), words.end(), [&](const UnusedWord& each) {
                return each.word.text == word.text && each.word.role == word.role;
            });
            if (entry == words.end()) entry = words.insert(words.end(), UnusedWord{.word = word});
            ++entry->procedures;
            if (unused.contains(key))
                entry->unused.push_back(say_procedure(*key.program, *key.program->find(key.number)));
        }
    std::erase_if(words, [](const UnusedWord& word) { return word.unused.empty(); });
}

}  // namespace

Usage::Usage(const Loaded& policy, std::string_view identity) : policy_(policy) {
    for (const Table::Rule& rule : policy.table.rules())
        if (identity.empty() || rule.name == identity)
            persons_.push_back(
                std::make_unique<Person>(Person{rule, {}, {rule.grants.size(), std::set<ProcedureKey>{}}}));
}

Usage::~Usage() = default;

void Usage::use(Person& person, const Entry& entry) {
    const auto request = request_of(entry);
    if (!request) return;
    const ProcedureKey key{request->program, request->procedure->number};
    const auto& grants = person.rule.grants;
    for (std::size_t i = 0; i < grants.size(); ++i)
        if (is_rule_of(entry, grants[i]) && virtgate::policy::has(grants[i].may, *key.program, key.number)) {
            person.used[i].insert(key);
            return;
        }
    const std::string listener = entry.listener.value_or("");
    auto rights = person.rights.find(listener);
    if (rights == person.rights.end())
        rights = person.rights.emplace(listener, rights_of(person.rule, listener)).first;
    const auto decision = judge(rights->second, *request);
    if (!decision.allowed) return;
    const auto all = rights->second.grants();
    person.used[static_cast<std::size_t>(decision.grant - all.data())].insert(key);
}

void Usage::add(const Entry& entry, Moment since) {
    if (!seen_.first || entry.time < *seen_.first) seen_.first = entry.time;
    if (!seen_.last || entry.time > *seen_.last) seen_.last = entry.time;
    if (entry.time < since || entry.record != "call") return;
    ++seen_.records;
    if (entry.verdict == "refused" || !entry.identity) return;
    for (auto& person : persons_)
        if (person->rule.name == *entry.identity) use(*person, entry);
}

UsageReport Usage::report(Moment since, Moment now) const {
    UsageReport report = seen_;
    if (!report.first)
        report.warnings.emplace_back("there are no records");
    else if (*report.first > since)
        report.warnings.push_back(fmt::format(
            "the records begin {} only: what was used before that is not known",
            say_time(std::chrono::floor<std::chrono::seconds>(*report.first).time_since_epoch().count())));
    if (report.last && now - *report.last > (now - since) / 2)
        report.warnings.emplace_back("the records end long ago: is this the file that the daemon writes?");
    Origins origins(policy_.source);
    std::map<std::string, GrantUsage> unrecorded;  // by role, one binding for all
    for (const auto& person : persons_)
        for (std::size_t i = 0; i < person->rule.grants.size(); ++i) {
            const Grant& grant = person->rule.grants[i];
            GrantUsage usage{.identity = person->rule.name,
                             .role = grant.role,
                             .at = origins.place_of(grant),
                             .audit = grant.audit,
                             .is_shadow = grant.shadow};
            const std::vector<ProcedureKey> all = calls_of(grant);
            std::set<ProcedureKey> unused;
            for (const ProcedureKey& key : all) {
                if (person->used[i].contains(key))
                    ++usage.used;
                else if (!grant.shadow && is_recorded(grant.audit, *key.program->find(key.number)))
                    unused.insert(key);
                else
                    ++usage.unrecorded;
            }
            usage.procedures = all.size();
            add_words(all, unused, grant, origins, usage.words);
            if (usage.unrecorded != 0) unrecorded.emplace(grant.role, usage);
            if (!usage.words.empty() || usage.unrecorded != 0) report.grants.push_back(std::move(usage));
        }
    for (const auto& [role, usage] : unrecorded)
        report.warnings.push_back(
            usage.is_shadow
                ? fmt::format("{}: the binding of the role {} is on probation: nobody can use it",
                              say_place(usage.at), role)
                : fmt::format("the role {} has audit = \"{}\": whether {} of its {} procedures are used is "
                              "not recorded",
                              role, say_audit(usage.audit), usage.unrecorded, usage.procedures));
    return report;
}

}  // namespace virtgate::ctl::policy
