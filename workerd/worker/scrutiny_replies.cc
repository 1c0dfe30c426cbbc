// SPDX-License-Identifier: LGPL-2.1-or-later
// scrutiny_replies - what the daemon sends: answers to questions of ours, replies that are filtered, events.
#include <fmt/format.h>

#include <algorithm>

#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/programs.h"
#include "workerd/worker/denial.h"
#include "workerd/worker/filter_redact.h"
#include "workerd/worker/scrutiny_state.h"
#include "workerd/worker/sight.h"

namespace virtgate::workerd::worker {

using policy::Decision;
using policy::Reason;
using policy::Rights;
using proto::ProcedureInfo;
using proto::ProgramInfo;

bool Scrutiny::wants(const rpc::Header& header) const noexcept {
    if (header.type == rpc::Type::reply)
        return (held_ && key_of(held_->question) == key_of(header)) ||
               (!open_.empty() && open_.contains(key_of(header)));
    if (header.type != rpc::Type::message || is_shadowed_) return false;
    const ProgramInfo* program = proto::find_relayed_program(header.program, header.version);
    const ProcedureInfo* event = program != nullptr ? program->find(header.procedure) : nullptr;
    if (event == nullptr || event->kind != ProcedureInfo::Kind::event) return false;
    if (!rights_->may_event(*program, *event)) return true;
    return std::any_of(event->objects.begin(), event->objects.end(), [&](const proto::ObjectPlace& place) {
        const auto kind = policy::kind_of(place.object);
        return !kind || !rights_->sees_all(*kind);
    });
}

Scrutiny::Outcome Scrutiny::on_frame(const rpc::Header& header, MutableBytes payload, const IsUsed& is_used) {
    if (header.type == rpc::Type::message) return on_event(header, payload);
    if (header.type != rpc::Type::reply) return {};
    if (held_ && key_of(held_->question) == key_of(header)) return on_answer(header, payload, is_used);
    const auto found = open_.find(key_of(header));
    if (found == open_.end()) return {};
    const std::unique_ptr<Open> open = std::move(found->second);
    open_.erase(found);
    return on_reply(header, payload, *open);
}

// The answer to a question about the held call.
Scrutiny::Outcome Scrutiny::on_answer(const rpc::Header& header, MutableBytes payload,
                                      const IsUsed& is_used) {
    Held& held = *held_;
    Claim& claim = held.claims.list[held.at];
    const std::string_view name = held.procedure->name;
    Outcome outcome{
        .kind = Outcome::Kind::resume, .frame = {}, .held = held.call, .held_frame = {}, .ruling = {}};
    if (header.status == rpc::Status::ok) {
        const proto::Verdict verdict =
            validate(proto::remote_program().schema, claim.question->ret, payload, proto::Extent::whole);
        if (verdict.flaw != proto::Flaw::none || !take_answer(claim, payload))
            outcome.ruling = refuse(make_error(rpc::k_code_internal, rpc::k_domain_rpc,
                                               "the libvirt daemon does not say what the call is about"),
                                    fmt::format("{}: a wrong answer of the daemon", name));
        else if (held.judges_objects() && !is_seen(*held.rights, claim))
            outcome.ruling = refuse(not_there(*held.rights, driver_, claim),
                                    fmt::format("{}: object (hidden)", name), held.find_hidden("hidden"));
        else {
            if (names_ != nullptr && asks_by_uuid(claim))
                names_->learn(claim.kind, *claim.uuid, claim.true_name, held.epoch);
            ++held.at;
            outcome.ruling = ask(is_used);
        }
    } else if (rpc::read_error_code(payload) == claim.absent) {
        outcome.ruling = refuse(not_there(*held.rights, driver_, claim),
                                fmt::format("{}: no such object", name), held.find_hidden("no such object"));
    } else {
        // Nothing is known of the object. The reason, such as a driver that is not there, is the same for all of them.
        const auto error = proto::decode<proto::net::Error>(payload);
        outcome.ruling = refuse(error ? *error
                                      : make_error(rpc::k_code_internal, rpc::k_domain_rpc,
                                                   "the libvirt daemon does not say what the call is about"),
                                fmt::format("{}: the daemon does not know the object", name));
    }
    outcome.ruling = let_pass(std::move(outcome.ruling));
    if (outcome.ruling.kind == Ruling::Kind::ask) return outcome;
    outcome.held_frame = std::move(held.frame);
    held_.reset();
    return outcome;
}

Scrutiny::Outcome Scrutiny::on_reply(const rpc::Header& header, MutableBytes payload, Open& open) {
    Outcome outcome;
    outcome.kind = Outcome::Kind::forward;
    const auto find = [&](const Decision& decision, Claims claims) {
        outcome.finding = make_finding(open.rights, decision, open.flags, claims);
    };
    if (header.status == rpc::Status::error) {
        if (open.judges_reply && open.records) find({.allowed = true}, {});
        outcome.frame = rpc::make_frame(rpc::reply_to(open.call, rpc::Status::error), payload);
        return outcome;
    }
    const auto withhold = [&] {
        outcome.frame = error_frame(open.call, make_error(rpc::k_code_internal, rpc::k_domain_rpc,
                                                          "the reply of the libvirt daemon cannot be shown"));
        return outcome;
    };
    const Rights& rights = *open.rights;
    const proto::Schema& schema = open.program->schema;
    const proto::Verdict verdict = validate(schema, open.asked->ret, payload, proto::Extent::whole);
    if (header.status != rpc::Status::ok || verdict.flaw != proto::Flaw::none) return withhold();
    ByteView result = payload;
    if (open.filter) {
        Filtered filtered =
            open.filter->finish(payload, RightsSight(rights, *open.program, *open.procedure, open.flags));
        if (filtered.kind == Filtered::Kind::broken) return withhold();
        if (filtered.kind == Filtered::Kind::error) {
            find({.allowed = false, .reason = Reason::object}, {});
            outcome.finding->detail = "hidden";
            outcome.frame = error_frame(open.call, filtered.error);
            return outcome;
        }
        result = filtered.payload;
    }
    if (open.judges_reply) {
        const proto::Found found = locate(schema, open.asked->ret, result, open.rule->steps, {});
        std::string text;
        const auto named =
            found.present ? read_object(open.rule->shape, result.subspan(found.offset), text) : std::nullopt;
        if (!named) return withhold();
        const Decision decision =
            rights.judge(*open.program, *open.procedure, open.flags, {&named->object, 1});
        if (!decision.allowed || open.records || decision.shadow != nullptr) {
            Claims claims;
            claims.list.push_back({.kind = named->object.kind,
                                   .is_known = true,
                                   .true_name = std::string(named->object.name),
                                   .true_uuid = named->object.uuid});
            find(decision, std::move(claims));
        }
        if (!decision.allowed && is_shadowed_) {
            outcome.finding->is_shadowed = true;
        } else if (!decision.allowed) {
            outcome.frame = error_frame(open.call, denial(decision, *open.procedure));
            outcome.log = log_of(decision, *open.procedure);
            return outcome;
        }
    }
    ByteVector redacted;
    if (open.redacts) {
        const auto clean = redact_reply(result, redacted);
        if (!clean) return withhold();
        result = *clean;
    }
    outcome.frame = rpc::make_frame(rpc::reply_to(open.call), result);
    return outcome;
}

Scrutiny::Outcome Scrutiny::on_event(const rpc::Header& header, MutableBytes payload) const {
    const ProgramInfo* program = proto::find_relayed_program(header.program, header.version);
    const ProcedureInfo* event = program != nullptr ? program->find(header.procedure) : nullptr;
    if (event == nullptr || event->kind != ProcedureInfo::Kind::event || header.status != rpc::Status::ok ||
        !rights_->may_event(*program, *event))
        return {};
    const proto::Verdict verdict = validate(program->schema, event->args, payload, proto::Extent::whole);
    if (verdict.flaw != proto::Flaw::none || !may_pass(*program, *event, payload, RightsSight(*rights_)))
        return {};
    Outcome outcome;
    outcome.kind = Outcome::Kind::forward;
    outcome.frame = rpc::make_frame(header, payload);
    return outcome;
}

}  // namespace virtgate::workerd::worker
