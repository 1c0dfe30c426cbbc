// SPDX-License-Identifier: LGPL-2.1-or-later
// rights_index - finds the grants that matter for a decision.
#include "policy/rights_index.h"

#include <algorithm>
#include <ctime>

#include "policy/xml_calls.h"
#include "proto/programs.h"

namespace virtgate::policy {

using proto::ProcedureInfo;
using proto::ProgramInfo;
using proto::policy::Grant;
using proto::policy::ObjectPattern;
using proto::policy::PatternKind;

namespace {

using Numbers = std::vector<std::uint32_t>;

// The bits of a ceiling for one program, found once.
ByteView bitmap_of(const proto::who::Ceiling& ceiling, const ProgramInfo& program) noexcept {
    for (const auto& each : ceiling.programs)
        if (each.program == program.number && each.version == program.version) return each.procedures;
    return {};
}

bool is_set(ByteView bitmap, std::uint32_t number) noexcept {
    return number / 8 < bitmap.size() &&
           (std::to_integer<unsigned>(bitmap[number / 8]) >> (number % 8) & 1) != 0;
}

template <class Rules>
bool has_rule(const Rules& rules, const ProgramInfo& program, std::uint32_t procedure) noexcept {
    return std::any_of(rules.begin(), rules.end(), [&](const proto::policy::FlagRule& rule) {
        return rule.program == program.number && rule.version == program.version &&
               rule.procedure == procedure;
    });
}

// What a name that fits the pattern begins with.
std::string_view prefix_of(const ObjectPattern& pattern) noexcept {
    const std::string_view text = pattern.text;
    switch (pattern.how) {
        case PatternKind::pattern_glob: return text.substr(0, text.find_first_of("*?"));
        case PatternKind::pattern_exact: return text;
        case PatternKind::pattern_uuid: break;
    }
    return {};
}

constexpr std::size_t k_affix_max = 64;

// What a name that fits the glob ends with.
std::string_view suffix_of(const ObjectPattern& pattern) noexcept {
    const std::string_view text = pattern.text;
    const std::string_view suffix = text.substr(text.find_last_of("*?") + 1);
    return suffix.substr(suffix.size() - std::min(suffix.size(), k_affix_max));
}

}  // namespace

// ---- objects ----------------------------------------

ObjectTable::Digits ObjectTable::digits_of(const Uuid& uuid) noexcept {
    constexpr std::string_view k_hex = "0123456789abcdef";
    Digits digits{};
    for (std::size_t i = 0; i < uuid.size(); ++i) {
        digits[2 * i] = k_hex[std::to_integer<unsigned>(uuid[i]) >> 4];
        digits[2 * i + 1] = k_hex[std::to_integer<unsigned>(uuid[i]) & 15];
    }
    return digits;
}

void ObjectTable::add(std::uint32_t grant, const ObjectPattern& pattern) {
    const auto kind = static_cast<ObjectKind>(pattern.kind);
    if (pattern.how == PatternKind::pattern_uuid) {
        uuids_[pattern.text].push_back(grant);
        return;
    }
    const bool is_plain = kind != ObjectKind::path && kind != ObjectKind::migrate_uri;
    if (is_plain && pattern.how == PatternKind::pattern_exact) {
        exact_[pattern.text].push_back(grant);
        return;
    }
    std::string_view prefix = is_plain ? prefix_of(pattern) : std::string_view{};
    prefix = prefix.substr(0, k_affix_max);
    if (is_plain && prefix.empty())
        if (const std::string_view suffix = suffix_of(pattern); !suffix.empty())
            return tails_.add(suffix, {grant, &pattern});
    heads_.add(prefix, {grant, &pattern});
}

void ObjectTable::Affixes::add(std::string_view affix, Hit hit) {
    if (lengths.size() <= affix.size()) lengths.resize(affix.size() + 1);
    lengths[affix.size()] = true;
    hits[affix].push_back(hit);
}

// ---- procedures ----------------------------------------

Rights::Index::Index(proto::policy::IdentityRights given, Circumstances circumstances)
    : rights(std::move(given)), listener(circumstances.listener), clock(circumstances.clock) {
    const auto count = static_cast<std::uint32_t>(rights.grants.size());
    facts.resize(count);
    for (std::uint32_t i = 0; i < count; ++i) read_grant(i);
    const auto infos = proto::session_programs();
    programs_.resize(infos.size());
    for (std::size_t i = 0; i < programs_.size(); ++i) {
        programs_[i].info = infos[i];
        for (const ProcedureInfo& procedure : infos[i]->procedures()) {
            auto& cells = programs_[i].cells;
            if (cells.size() <= procedure.number) cells.resize(procedure.number + 1);
            fill(*infos[i], procedure, cells[procedure.number]);
        }
    }
    find_seen();
}

void Rights::Index::read_grant(std::uint32_t number) {
    const Grant& grant = rights.grants[number];
    Facts& fact = facts[number];
    fact.grant = &grant;
    fact.mentioned = mentioned_kinds(grant);
    fact.open = open_kinds(grant);
    fact.may_live = !grant.shadow && is_for_listener(grant, listener, Doubt::does_not_hold);
    fact.deny_live = !grant.shadow && is_for_listener(grant, listener, Doubt::holds);
    fact.is_timed = grant.not_before.has_value() || grant.not_after.has_value();
    fact.has_xml = !grant.xml.empty();
    if (grant.shadow && is_for_listener(grant, listener, Doubt::does_not_hold)) shadows.push_back(number);
    if (!fact.may_live && !fact.deny_live) return;
    audit = std::max(audit, grant.audit);
    has_redactions = has_redactions || !grant.redact.empty();
    for (const ObjectPattern& pattern : grant.objects) {
        const auto kind = static_cast<std::size_t>(pattern.kind);
        if ((fact.open >> kind & 1) == 0) objects[kind].add(number, pattern);
    }
    for (std::size_t kind = 0; kind < k_kinds; ++kind)
        if ((fact.open >> kind & 1) != 0) open[kind].push_back(number);
}

// Everything that can be said of one procedure without a call of it.
void Rights::Index::fill(const ProgramInfo& program, const ProcedureInfo& procedure, Cell& cell) {
    cell.is_known = true;
    cell.is_hard = is_denied_for_good(program, procedure);
    cell.touched = touched_kinds(procedure);
    const KindMask shows = procedure.kind == ProcedureInfo::Kind::call ? shown_kinds(procedure) : KindMask{0};
    bool is_certain = false;  // a grant allows it whatever the call is
    bool needs_objects = false;
    bool is_denied = false, deny_is_certain = false;
    for (std::uint32_t i = 0; i < facts.size(); ++i) {
        Facts& fact = facts[i];
        const Grant& grant = *fact.grant;
        if (fact.may_live && is_set(bitmap_of(grant.may, program), procedure.number)) {
            cell.is_allowed_somewhere = true;
            fact.shown |= shows;
            // Of what libvirt serves: locks and programs of others are none of its business.
            only_reads = only_reads && (cell.is_hard || &program == &proto::lock_program() ||
                                        program.is_added() ||
                                        policy::only_reads(grant, program, procedure));
            const bool is_judged = fact.has_xml && takes_xml(program, procedure);
            const bool is_free =
                !is_judged && !fact.is_timed && !has_rule(grant.conditions, program, procedure.number);
            cell.takes_xml = cell.takes_xml || is_judged;
            needs_objects = needs_objects || is_judged;
            if ((cell.touched & ~fact.open) == 0) {
                if (!is_certain) cell.wide_may.push_back(i);
                is_certain = is_certain || is_free;
            } else {
                cell.has_narrow_may = true;
            }
        }
        const bool denies_all = is_set(bitmap_of(grant.deny, program), procedure.number);
        if (fact.deny_live && (denies_all || has_rule(grant.denied_flags, program, procedure.number))) {
            is_denied = true;
            // It may hit calls on objects by which it is not found in the tables ...
            const bool is_wide = cell.touched == 0 || (cell.touched & (fact.open | ~fact.mentioned)) != 0;
            // ... or all calls.
            const bool hits_all = (cell.touched & ~fact.open) == 0 || (cell.touched & fact.mentioned) == 0;
            if (is_wide && !deny_is_certain) cell.wide_deny.push_back(i);
            if (!is_wide) cell.has_narrow_deny = true;
            needs_objects = needs_objects || !hits_all;
            deny_is_certain = deny_is_certain || (hits_all && denies_all && !fact.is_timed);
        }
    }
    // Those on probation only show in a decision, so one has to be made.
    const bool is_watched = std::any_of(shadows.begin(), shadows.end(), [&](std::uint32_t i) {
        const Grant& grant = *facts[i].grant;
        return is_set(bitmap_of(grant.may, program), procedure.number) ||
               is_set(bitmap_of(grant.deny, program), procedure.number) ||
               has_rule(grant.denied_flags, program, procedure.number);
    });
    if (is_watched)
        cell.takes_xml = cell.takes_xml || std::any_of(shadows.begin(), shadows.end(), [&](std::uint32_t i) {
                             return facts[i].has_xml && takes_xml(program, procedure);
                         });
    if (is_watched && !cell.is_hard)
        cell.need = Need::objects;
    else if (cell.is_hard || !cell.is_allowed_somewhere || deny_is_certain)
        cell.need = Need::refused;
    else if (is_certain && !is_denied)
        cell.need = Need::allowed;
    else if (!cell.has_narrow_may && !needs_objects)
        cell.need = Need::flags;
    else
        cell.need = Need::objects;
}

void Rights::Index::find_seen() {
    for (const Facts& fact : facts)
        if (fact.may_live) shown |= static_cast<KindMask>(fact.shown & fact.mentioned);
    for (std::size_t kind = 0; kind < k_kinds; ++kind)
        sees_all[kind] = std::any_of(open[kind].begin(), open[kind].end(), [&](std::uint32_t i) {
            return facts[i].may_live && !facts[i].is_timed && (facts[i].shown >> kind & 1) != 0;
        });
}

const Cell* Rights::Index::find(const ProgramInfo& program, std::uint32_t procedure) const noexcept {
    for (const Program& each : programs_)
        if (each.info->number == program.number && each.info->version == program.version)
            return procedure < each.cells.size() && each.cells[procedure].is_known ? &each.cells[procedure]
                                                                                   : nullptr;
    return nullptr;
}

std::int64_t Rights::Index::now() const noexcept { return clock != nullptr ? clock() : std::time(nullptr); }

}  // namespace virtgate::policy
