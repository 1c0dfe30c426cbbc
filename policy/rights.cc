// SPDX-License-Identifier: LGPL-2.1-or-later
// rights - what one identity may do.
#include "policy/rights.h"

#include <algorithm>

#include "policy/rights_index.h"
#include "proto/codec.h"
#include "proto/programs.h"

namespace virtgate::policy {

using proto::ProcedureInfo;
using proto::ProgramInfo;
using proto::policy::Grant;

namespace {

constexpr std::uint32_t k_nobody = UINT32_MAX;

// One call on its way to a decision.
struct Call {
    const ProgramInfo& program;
    const ProcedureInfo& procedure;
    std::uint64_t flags;
    std::span<const Object> objects;
    KindMask touched;
    KindMask unknown;
    bool takes_xml;
    const XmlFacts* xml;
};

KindMask kinds_of(std::span<const Object> objects) noexcept {
    KindMask mask = 0;
    for (const Object& object : objects) mask |= bit(object.kind);
    return mask;
}

// True if the grant is about everything that the call names. What is not named has to be covered as a whole.
bool covers_call(const Facts& fact, const Call& call) noexcept {
    const auto unnamed =
        static_cast<KindMask>(call.objects.empty() ? call.touched : call.touched & bit(ObjectKind::path));
    const auto still = static_cast<KindMask>((unnamed & ~kinds_of(call.objects)) | call.unknown);
    if ((still & ~fact.open) != 0) return false;
    return std::all_of(call.objects.begin(), call.objects.end(), [&](const Object& object) {
        return covers(*fact.grant, object, Doubt::does_not_hold);
    });
}

// True if a deny of the grant is about the call.
bool hits_call(const Facts& fact, const Call& call) noexcept {
    if ((kinds_of(call.objects) & fact.mentioned) == 0 || (call.unknown & fact.mentioned) != 0) return true;
    return std::any_of(call.objects.begin(), call.objects.end(),
                       [&](const Object& object) { return covers(*fact.grant, object, Doubt::holds); });
}

bool denies(const Grant& grant, const Call& call) noexcept {
    return has(grant.deny, call.program, call.procedure.number) ||
           (call.flags & denied_flags(grant, call.program, call.procedure.number)) != 0;
}

// Why the call's XML does not fit the grant.
XmlMisfit find_misfit(const Facts& fact, const Call& call) noexcept {
    if (!call.takes_xml || !fact.has_xml) return {};
    for (const auto& rule : fact.grant->xml)
        if (const XmlMisfit misfit = find_misfit(rule, call.xml)) return misfit;
    return {};
}

// Why a grant that has the procedure does not allow the call, the nearest miss first.
struct Misses {
    std::uint32_t xml = k_nobody;
    std::uint32_t flag = k_nobody;
    std::uint32_t time = k_nobody;
    XmlMisfit misfit{};
};

}  // namespace

std::string_view to_text(Reason reason) noexcept {
    switch (reason) {
        case Reason::allowed: return "allowed";
        case Reason::no_binding: return "no-binding";
        case Reason::denied_by_rule: return "deny-rule";
        case Reason::object: return "object";
        case Reason::flag: return "flag";
        case Reason::hard_denied: return "hard-deny";
        case Reason::limit: return "limit";
        case Reason::constraint: return "constraint";
    }
    return "unknown";
}

Rights::Rights(proto::policy::IdentityRights rights, Circumstances circumstances)
    : index_(std::make_unique<Index>(std::move(rights), circumstances)) {}
Rights::~Rights() = default;
Rights::Rights(Rights&&) noexcept = default;
Rights& Rights::operator=(Rights&&) noexcept = default;

Result<Rights> Rights::decode(ByteView bytes, Circumstances circumstances) {
    auto rights = proto::decode<proto::policy::IdentityRights>(bytes);
    if (!rights)
        return system_fault(
            0, fmt::format("the rights of an identity have a flaw: {}", to_text(rights.error())));
    return Rights(std::move(*rights), circumstances);
}

Rights::Need Rights::need(const ProgramInfo& program, const ProcedureInfo& procedure) const noexcept {
    const Cell* cell = index_->find(program, procedure.number);
    return cell != nullptr ? cell->need : Need::refused;
}

Decision Rights::judge(const ProgramInfo& program, const ProcedureInfo& procedure, std::uint64_t flags,
                       std::span<const Object> objects, KindMask unknown,
                       const XmlFacts* xml) const noexcept {
    const Index& index = *index_;
    const Cell* cell = index.find(program, procedure.number);
    if (cell == nullptr) return {};
    if (cell->is_hard) return {.allowed = false, .reason = Reason::hard_denied};
    const Call call{program, procedure, flags, objects, cell->touched, unknown, cell->takes_xml, xml};

    // The tables by object only know grants that name a kind which the procedure touches.
    bool is_plain = (kinds_of(objects) & ~cell->touched) == 0;
    for (const Object& object : objects)
        if (!object.uuid && index.objects[static_cast<std::size_t>(object.kind)].has_uuids())
            is_plain = false;
    const auto each_candidate = [&](const auto& visit) {
        if (!is_plain) {
            for (std::uint32_t i = 0; i < index.facts.size(); ++i) visit(i);
            return;
        }
        for (const Object& object : objects) {
            const auto kind = static_cast<std::size_t>(object.kind);
            index.objects[kind].each(object, visit);
            if (objects.size() > 1 || (cell->touched & ~bit(object.kind)) != 0)
                for (const std::uint32_t i : index.open[kind]) visit(i);
        }
    };

    std::uint32_t denier = k_nobody;
    const auto try_deny = [&](std::uint32_t i) {
        const Facts& fact = index.facts[i];
        if (i < denier && fact.deny_live && denies(*fact.grant, call) && hits_call(fact, call) &&
            (!fact.is_timed || is_in_time(*fact.grant, index.now())))
            denier = i;
    };
    for (const std::uint32_t i : cell->wide_deny) try_deny(i);
    if (cell->has_narrow_deny || !is_plain) {
        each_candidate(try_deny);
        // A call that names nothing, or something unknown, is denied by whoever denies it on something.
        if (objects.empty() || unknown != 0)
            for (std::uint32_t i = 0; i < index.facts.size(); ++i) try_deny(i);
    }

    std::uint32_t allower = k_nobody;
    Misses misses;
    const auto try_allow = [&](std::uint32_t i) {
        const Facts& fact = index.facts[i];
        if (i >= allower || !fact.may_live || !has(fact.grant->may, program, procedure.number) ||
            !covers_call(fact, call))
            return;
        if (!flags_fit(*fact.grant, program, procedure.number, flags))
            misses.flag = std::min(misses.flag, i);
        else if (fact.is_timed && !is_in_time(*fact.grant, index.now()))
            misses.time = std::min(misses.time, i);
        else if (const XmlMisfit misfit = find_misfit(fact, call); !misfit)
            allower = i;
        else if (i < misses.xml)
            misses.xml = i, misses.misfit = misfit;
    };
    for (const std::uint32_t i : cell->wide_may) try_allow(i);
    if (cell->has_narrow_may || !is_plain) each_candidate(try_allow);

    const auto grant_at = [&](std::uint32_t i) { return i == k_nobody ? nullptr : index.facts[i].grant; };
    Decision decision;
    if (denier != k_nobody)
        decision = {false, Reason::denied_by_rule, grant_at(denier)};
    else if (allower != k_nobody)
        decision = {true, Reason::allowed, grant_at(allower)};
    else if (misses.xml != k_nobody)
        decision = {.reason = Reason::constraint, .grant = grant_at(misses.xml), .misfit = misses.misfit};
    else if (misses.flag != k_nobody)
        decision = {false, Reason::flag, grant_at(misses.flag)};
    else if (misses.time != k_nobody)
        decision = {false, Reason::constraint, grant_at(misses.time)};
    else if (cell->is_allowed_somewhere)
        decision = {false, Reason::object};
    // What would be different if those on probation counted.
    for (const std::uint32_t i : index.shadows) {
        const Facts& fact = index.facts[i];
        if (fact.is_timed && !is_in_time(*fact.grant, index.now())) continue;
        const bool would_deny = denies(*fact.grant, call) && hits_call(fact, call);
        const bool would_allow = denier == k_nobody && has(fact.grant->may, program, procedure.number) &&
                                 covers_call(fact, call) &&
                                 flags_fit(*fact.grant, program, procedure.number, flags) &&
                                 !find_misfit(fact, call);
        if (decision.shadow == nullptr && (decision.allowed ? would_deny : would_allow && !would_deny))
            decision.shadow = fact.grant;
    }
    return decision;
}

bool Rights::looks_at_xml(const ProgramInfo& program, const ProcedureInfo& procedure) const noexcept {
    const Cell* cell = index_->find(program, procedure.number);
    return cell != nullptr && cell->takes_xml;
}

bool Rights::sees(const Object& object) const noexcept {
    const Index& index = *index_;
    const auto kind = static_cast<std::size_t>(object.kind);
    if (index.sees_all[kind]) return true;
    if ((index.shown & bit(object.kind)) == 0) return false;
    bool seen = false;
    const auto try_see = [&](std::uint32_t i) {
        const Facts& fact = index.facts[i];
        seen = seen || (fact.may_live && (fact.shown & bit(object.kind)) != 0 &&
                        covers(*fact.grant, object, Doubt::does_not_hold) &&
                        (!fact.is_timed || is_in_time(*fact.grant, index.now())));
    };
    for (const std::uint32_t i : index.open[kind]) try_see(i);
    if (!seen) index.objects[kind].each(object, try_see);
    return seen;
}

bool Rights::sees_all(ObjectKind kind) const noexcept {
    return index_->sees_all[static_cast<std::size_t>(kind)];
}

bool Rights::may_event(const ProgramInfo& program, const ProcedureInfo& event) const noexcept {
    const Index& index = *index_;
    const Cell* cell = index.find(program, event.number);
    if (cell == nullptr || cell->need == Need::refused) return false;
    if (cell->need == Need::allowed) return true;
    bool allowed = false;
    for (const Facts& fact : index.facts) {
        if (fact.is_timed && !is_in_time(*fact.grant, index.now())) continue;
        if (fact.deny_live && has(fact.grant->deny, program, event.number)) return false;
        allowed = allowed || (fact.may_live && has(fact.grant->may, program, event.number));
    }
    return allowed;
}

bool Rights::redacts(std::string_view permission, const Object& object) const noexcept {
    if (!index_->has_redactions) return false;
    return std::any_of(index_->facts.begin(), index_->facts.end(), [&](const Facts& fact) {
        const auto& list = fact.grant->redact;
        return fact.deny_live && std::find(list.begin(), list.end(), permission) != list.end() &&
               ((fact.mentioned & bit(object.kind)) == 0 || covers(*fact.grant, object, Doubt::holds));
    });
}

bool Rights::redacts(std::string_view permission) const noexcept {
    if (!index_->has_redactions) return false;
    return std::any_of(index_->facts.begin(), index_->facts.end(), [&](const Facts& fact) {
        const auto& list = fact.grant->redact;
        return fact.deny_live && std::find(list.begin(), list.end(), permission) != list.end();
    });
}

bool Rights::only_reads() const noexcept { return index_->only_reads; }

bool only_reads(const proto::policy::IdentityRights& rights) noexcept {
    if (rights.shadowed != proto::policy::Probation::probation_nobody) return false;
    for (const proto::ProgramInfo* program : proto::hypervisor_programs())
        for (const proto::ProcedureInfo& procedure : program->procedures()) {
            if (is_denied_for_good(*program, procedure)) continue;
            for (const Grant& grant : rights.grants)
                if (!grant.shadow && has(grant.may, *program, procedure.number) &&
                    !only_reads(grant, *program, procedure))
                    return false;
        }
    return true;
}

const proto::policy::LimitSet& Rights::limits() const noexcept { return index_->rights.limits; }

proto::policy::AuditLevel Rights::audit_level(const Decision& decision) const noexcept {
    return decision.grant != nullptr ? decision.grant->audit : index_->audit;
}

std::uint64_t Rights::generation() const noexcept { return index_->rights.generation; }
const std::string& Rights::identity() const noexcept { return index_->rights.identity; }
std::span<const Grant> Rights::grants() const noexcept { return index_->rights.grants; }

}  // namespace virtgate::policy
