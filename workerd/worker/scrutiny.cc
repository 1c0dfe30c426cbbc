// SPDX-License-Identifier: LGPL-2.1-or-later
// scrutiny - judges the calls of a client whose rights have limits, and what the daemon answers.
#include "workerd/worker/scrutiny.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "libshared/base/result.h"
#include "libshared/rpc/error.h"
#include "proto/programs.h"
#include "workerd/worker/denial.h"
#include "workerd/worker/filter_redact.h"
#include "workerd/worker/open_calls.h"
#include "workerd/worker/scrutiny_state.h"
#include "workerd/worker/sight.h"
#include "workerd/worker/xml_facts.h"

namespace virtgate::workerd::worker {

using policy::Decision;
using policy::Object;
using policy::ObjectKind;
using policy::Reason;
using policy::Rights;
using proto::ProcedureInfo;
using proto::ProgramInfo;

namespace {

// Clients count from 1 and have not come here in a connection's life; is_used() tells if one has.
constexpr std::uint32_t k_first_serial = 0x80000000;

Scrutiny::Ruling pass(ByteVector frame = {}) {
    Scrutiny::Ruling ruling;
    ruling.kind = Scrutiny::Ruling::Kind::pass;
    ruling.frame = std::move(frame);
    return ruling;
}

Scrutiny::Ruling refuse(const Decision& decision, const ProcedureInfo& procedure, Finding finding) {
    return refuse(denial(decision, procedure), log_of(decision, procedure), std::move(finding));
}

proto::audit::AuditReason reason_of(Reason reason) noexcept {
    using proto::audit::AuditReason;
    switch (reason) {
        case Reason::allowed: return AuditReason::reason_allowed;
        case Reason::no_binding: break;
        case Reason::denied_by_rule: return AuditReason::reason_deny_rule;
        case Reason::object: return AuditReason::reason_object;
        case Reason::flag: return AuditReason::reason_flag;
        case Reason::hard_denied: return AuditReason::reason_hard_deny;
        case Reason::limit: return AuditReason::reason_limit;
        case Reason::constraint: return AuditReason::reason_constraint;
    }
    return AuditReason::reason_no_binding;
}

bool reaches_any(const Rights& rights, const ProgramInfo& program) noexcept {
    return std::any_of(program.procedures().begin(), program.procedures().end(),
                       [&](const ProcedureInfo& procedure) {
                           return procedure.kind == ProcedureInfo::Kind::call &&
                                  rights.need(program, procedure) != Rights::Need::refused;
                       });
}

std::vector<Object> objects_of(const Claims& claims) {
    std::vector<Object> objects;
    objects.reserve(claims.list.size() + 1);
    for (const Claim& claim : claims.list) {
        objects.push_back(claim.object());
        // The domain keeps its uuid under its new name.
        if (!claim.shape && claim.kind == ObjectKind::domain) objects.back().uuid = objects.front().uuid;
    }
    return objects;
}

}  // namespace

const ReplyRules* rules_of(const ProgramInfo& program) {
    static const ReplyRules remote(proto::remote_program());
    static const ReplyRules qemu(proto::qemu_program());
    static const ReplyRules lxc(proto::lxc_program());
    for (const ReplyRules* rules : {&remote, &qemu, &lxc})
        if (&rules->program() == &program) return rules;
    // In those of others there are no objects of libvirt's (proto::add_programs()).
    static const ReplyRules others;
    return program.is_added() ? &others : nullptr;
}

proto::net::Error not_there(const Rights& rights, Driver driver, const Claim& claim) {
    const bool has_pool = claim.pool.empty() || rights.sees({ObjectKind::pool, claim.pool, {}});
    return not_there(driver, claim, has_pool);
}

Finding make_finding(std::shared_ptr<const Rights> rights, const Decision& decision, std::uint64_t flags,
                     const Claims& claims) {
    Finding finding{.allowed = decision.allowed,
                    .reason = reason_of(decision.reason),
                    .rights = std::move(rights),
                    .grant = decision.grant,
                    .shadow = decision.shadow,
                    .flags = flags};
    if (decision.allowed) finding.reason = proto::audit::AuditReason::reason_allowed;
    if (decision.misfit) finding.detail = describe(decision.misfit);
    for (const Claim& claim : claims.list)
        finding.things.push_back(claim.is_known
                                     ? Finding::Thing{claim.kind, claim.true_name, claim.true_uuid, true}
                                     : Finding::Thing{claim.kind, claim.name, claim.uuid, false});
    return finding;
}

Scrutiny::Ruling refuse(proto::net::Error error, std::string log, std::optional<Finding> finding) {
    Scrutiny::Ruling ruling;
    ruling.error = std::move(error);
    ruling.log = std::move(log);
    ruling.finding = std::move(finding);
    return ruling;
}

Scrutiny::Scrutiny(std::shared_ptr<const Rights> rights, bool is_shadowed) : serial_(k_first_serial) {
    set_rights(std::move(rights), is_shadowed);
}
Scrutiny::~Scrutiny() = default;

void Scrutiny::set_rights(std::shared_ptr<const Rights> rights, bool is_shadowed) noexcept {
    require(rights != nullptr, "a session without rights");
    rights_ = std::move(rights);
    is_shadowed_ = is_shadowed;
    is_idle_ = !is_shadowed_ && find_idle();
    records_ = proto::policy::AuditLevel::audit_none;
    for (const proto::policy::Grant& grant : rights_->grants()) records_ = std::max(records_, grant.audit);
}

void Scrutiny::forget_all() noexcept {
    held_.reset();
    open_.clear();
}

// Nothing depends on objects or flags, nothing is hidden in replies to calls that are allowed, and no event that is
// allowed, or that nobody is allowed to ask for, is about something hidden.
bool Scrutiny::find_idle() const noexcept {
    const Rights& rights = *rights_;
    for (const std::string_view permission : {"domain:read_secure", "secret:read_secure"})
        if (rights.redacts(permission)) return false;
    for (const ProgramInfo* program : proto::relayed_programs()) {
        // Who may call nothing of a program is told nothing by it.
        if (program->is_added() && !reaches_any(rights, *program)) continue;
        for (const ProcedureInfo& procedure : program->procedures()) {
            if (procedure.kind == ProcedureInfo::Kind::event) {
                if (!rights.may_event(*program, procedure)) {
                    if (policy::is_passthrough(*program, procedure)) continue;
                    return false;
                }
                for (const proto::ObjectPlace& place : procedure.objects) {
                    const auto kind = policy::kind_of(place.object);
                    if (!kind || !rights.sees_all(*kind)) return false;
                }
                continue;
            }
            const Rights::Need need = rights.need(*program, procedure);
            if (need == Rights::Need::refused) continue;
            if (need != Rights::Need::allowed) return false;
            const ReplyRule& rule = rules_of(*program)->of(procedure);
            if (rule.action == ReplyAction::nothing) continue;
            const RightsSight sight(rights, *program, procedure, 0);
            if (rule.action == ReplyAction::withhold || !sight.sees_all(kind_of(rule.shape))) return false;
        }
    }
    return true;
}

Scrutiny::Ruling Scrutiny::refuse_call(const ProgramInfo& program, const ProcedureInfo& procedure,
                                       ByteView payload) const {
    Decision decision = rights_->judge(program, procedure, 0, {});
    if (decision.allowed) decision = {};
    Finding finding = find(program, procedure, payload);
    finding.reason = reason_of(decision.reason);
    finding.grant = decision.grant;
    finding.shadow = decision.shadow;
    return refuse(decision, procedure, std::move(finding));
}

Finding Scrutiny::find(const ProgramInfo& program, const ProcedureInfo& procedure, ByteView payload) const {
    return make_finding(rights_, {}, read_flags(program, procedure, payload),
                        read_claims(program, procedure, payload, driver_));
}

// On probation a refusal becomes a note, unless it is of what nobody may do.
Scrutiny::Ruling Scrutiny::let_pass(Ruling ruling) const {
    if (!is_shadowed_ || ruling.kind != Ruling::Kind::refuse || !ruling.finding ||
        ruling.finding->reason == proto::audit::AuditReason::reason_hard_deny)
        return ruling;
    ruling.kind = Ruling::Kind::pass;
    ruling.finding->is_shadowed = true;
    return ruling;
}

Scrutiny::Ruling Scrutiny::on_call(const rpc::Header& call, const ProgramInfo& program,
                                   const ProcedureInfo& procedure, MutableBytes payload,
                                   const IsUsed& is_used) {
    return let_pass(judge_call(call, program, procedure, payload, is_used));
}

Scrutiny::Ruling Scrutiny::judge_call(const rpc::Header& call, const ProgramInfo& program,
                                      const ProcedureInfo& procedure, ByteView payload,
                                      const IsUsed& is_used) {
    require(!held_, "a call while another is held");
    const auto in_use = [&] {
        return refuse(
            make_error(rpc::k_code_rpc, rpc::k_domain_rpc, "this serial is in use by a call that is open"),
            fmt::format("{}: its serial is in use", procedure.name));
    };
    if (!open_.empty() && open_.contains(key_of(call))) return in_use();
    const Rights::Need need = rights_->need(program, procedure);
    const ReplyRules* rules = rules_of(program);
    if (need == Rights::Need::refused || rules == nullptr) return refuse_call(program, procedure, payload);
    const ReplyRule& rule = rules->of(procedure);
    const Secrets secrets = secrets_of(program, procedure);
    const bool filters = !is_shadowed_ && rule.action != ReplyAction::nothing &&
                         (rule.action == ReplyAction::withhold ||
                          !RightsSight(*rights_, program, procedure, 0).sees_all(kind_of(rule.shape)));
    const bool redacts =
        !is_shadowed_ && secrets.where != Secrets::Where::nowhere && rights_->redacts(secrets.permission);
    // What a stream is about has to be known when the policy changes.
    const bool records = this->records(procedure) || procedure.stream != proto::Stream::none;
    if (need == Rights::Need::allowed && !filters && !redacts && !records) return pass();
    if (open_.size() >= OpenCalls::k_calls_max)
        return refuse(make_error(rpc::k_code_resource_busy, rpc::k_domain_rpc, "too many calls are open"),
                      fmt::format("{}: too many calls are open", procedure.name));

    Held held{.call = call,
              .program = &program,
              .procedure = &procedure,
              .rule = &rule,
              .rights = rights_,
              .need = need,
              .flags = read_flags(program, procedure, payload),
              .must_look = filters || redacts,
              .records = records};
    // Before anything is asked for, so that it takes the same time whether the object is there or hidden.
    if (rights_->looks_at_xml(program, procedure)) held.xml = read_xml_facts(program, procedure, payload);
    // What is allowed, or not, whatever it is about need not be asked for.
    if (!held.judges_objects()) {
        const bool later = is_lookup(rule, procedure) && need == Rights::Need::objects;
        const Decision decision =
            need == Rights::Need::allowed || later ? Decision{.allowed = true} : held.judge({}, 0);
        if (!decision.allowed || !held.must_look) {
            if (!later && (!decision.allowed || records))
                held.claims = read_claims(program, procedure, payload, driver_);
            if (!decision.allowed) return refuse(decision, procedure, held.find(decision));
            return watch(held, records ? held.judge({}, 0) : decision, payload, is_used);
        }
    }
    held.claims = read_claims(program, procedure, payload, driver_);
    recall(*held.rights, held.claims);
    const auto& list = held.claims.list;
    if (std::none_of(list.begin(), list.end(), [](const Claim& claim) { return claim.question != nullptr; }))
        return decide(held, payload, is_used);
    held.frame = rpc::make_frame(call, payload);
    held_ = std::make_unique<Held>(std::move(held));
    Ruling ruling = ask(is_used);
    if (ruling.kind != Ruling::Kind::ask) held_.reset();
    return ruling;
}

// Takes their questions from the claims whose names are known. Not from those about what the client may not see: it
// would be refused sooner than what is not there, and a clock would tell one from the other.
void Scrutiny::recall(const Rights& rights, Claims& claims) const {
    if (names_ == nullptr) return;
    for (Claim& claim : claims.list) {
        if (!asks_by_uuid(claim) || !claim.uuid) continue;
        const auto name = names_->find(claim.kind, *claim.uuid);
        if (!name || !rights.sees({claim.kind, *name, claim.uuid})) continue;
        claim.question = nullptr;
        claim.is_known = true;
        claim.true_name = *name;
        claim.true_uuid = claim.uuid;
    }
}

// Asks about the claim at hand, or the next that has a question; without one, decides.
Scrutiny::Ruling Scrutiny::ask(const IsUsed& is_used) {
    Held& held = *held_;
    const auto& list = held.claims.list;
    for (; held.at < list.size() && list[held.at].question == nullptr; ++held.at)
        if (held.judges_objects() && !is_seen(*held.rights, list[held.at]))
            return refuse(not_there(*held.rights, driver_, list[held.at]),
                          fmt::format("{}: object (hidden)", held.procedure->name),
                          held.find_hidden("hidden"));
    if (held.at == list.size()) return decide(held, ByteView(held.frame).subspan(rpc::k_frame_min), is_used);
    const ProgramInfo& remote = proto::remote_program();
    do {
        held.question = {.program = remote.number,
                         .version = remote.version,
                         .procedure = list[held.at].question->number,
                         .type = rpc::Type::call,
                         .serial = serial_++};
    } while (is_used(held.question) || open_.contains(key_of(held.question)));
    if (names_ != nullptr) held.epoch = names_->epoch();
    Ruling ruling;
    ruling.kind = Ruling::Kind::ask;
    ruling.frame = rpc::make_frame(held.question, make_question(list[held.at]));
    return ruling;
}

// Rules on a call whose objects are known.
Scrutiny::Ruling Scrutiny::decide(const Held& held, ByteView payload, const IsUsed& is_used) {
    const Rights& rights = *held.rights;
    const Claims& claims = held.claims;
    Decision decision{.allowed = true};
    if (held.judges_objects() || held.records) {
        const std::vector<Object> objects = objects_of(claims);
        decision = held.judge(objects, claims.unknown);
    }
    if (held.judges_objects()) {
        if (std::any_of(claims.list.begin(), claims.list.end(), is_crooked))
            decision = {.allowed = false, .reason = Reason::object};
        if (!decision.allowed) {
            for (const Claim& claim : claims.list)
                if (!is_seen(rights, claim))
                    return refuse(not_there(rights, driver_, claim),
                                  fmt::format("{} (hidden)", log_of(decision, *held.procedure)),
                                  held.find(decision));
            return refuse(decision, *held.procedure, held.find(decision));
        }
    }
    return watch(held, decision, payload, is_used);
}

// Passes a call that is allowed, and notes what has to be done with its reply.
Scrutiny::Ruling Scrutiny::watch(const Held& held, const Decision& decision, ByteView payload,
                                 const IsUsed& is_used) {
    const Rights& rights = *held.rights;
    const std::vector<Object> objects = objects_of(held.claims);
    const Secrets secrets = secrets_of(*held.program, *held.procedure);
    bool redacts = false;
    if (!is_shadowed_ && secrets.where != Secrets::Where::nowhere) {
        redacts = objects.empty() || held.claims.unknown != 0
                      ? rights.redacts(secrets.permission)
                      : std::any_of(objects.begin(), objects.end(), [&](const Object& object) {
                            return rights.redacts(secrets.permission, object);
                        });
        if (redacts && secrets.where == Secrets::Where::in_use) {
            Finding finding = held.find({.allowed = false});
            finding.reason = proto::audit::AuditReason::reason_redacted;
            return refuse(make_error(rpc::k_code_access_denied, rpc::k_domain_access,
                                     fmt::format("access denied: {} gives away what a role redacts",
                                                 held.procedure->name)),
                          fmt::format("{}: redacted", held.procedure->name), std::move(finding));
        }
    }
    Open open{.call = held.call,
              .program = held.program,
              .procedure = held.procedure,
              .asked = held.procedure,
              .rule = held.rule,
              .rights = held.rights,
              .flags = held.flags,
              .judges_reply = held.need == Rights::Need::objects && is_lookup(*held.rule, *held.procedure),
              .redacts = redacts,
              .records = held.records};
    const auto pass_on = [&](ByteVector frame) {
        Ruling ruling = pass(std::move(frame));
        if (!open.judges_reply && (held.records || decision.shadow != nullptr))
            ruling.finding = held.find(decision);
        return ruling;
    };
    const RightsSight sight(rights, *held.program, *held.procedure, held.flags);
    if (!is_shadowed_)
        open.filter =
            ReplyFilter::make(*rules_of(*held.program), *held.procedure, payload, objects, driver_, sight);
    if (!open.filter && !open.redacts && !open.judges_reply) return pass_on({});
    rpc::Header header = held.call;
    ByteVector frame;
    if (open.filter) {
        open.asked = &open.filter->ask_for();
        header.procedure = open.asked->number;
        if (open.filter->changes_args()) frame = rpc::make_frame(header, open.filter->args());
    }
    // Replies come in any order: two open calls of one name could not be told apart.
    if (is_used(header) || open_.contains(key_of(header)))
        return refuse(
            make_error(rpc::k_code_rpc, rpc::k_domain_rpc, "this serial is in use by a call that is open"),
            fmt::format("{}: its serial is in use", held.procedure->name));
    Ruling ruling = pass_on(std::move(frame));
    open_.emplace(key_of(header), std::make_unique<Open>(std::move(open)));
    return ruling;
}

}  // namespace virtgate::workerd::worker
