// SPDX-License-Identifier: LGPL-2.1-or-later
// desk - doorman's side of the channel to one gate: nonces, and who may come in.
#include "netd/doorman/desk.h"

#include "libshared/rpc/error.h"
#include "proto/codec.h"

namespace virtgate::netd::doorman {

namespace door = proto::door;

namespace {

rpc::Header make_call(door::Procedure procedure, std::uint32_t serial) noexcept {
    return rpc::make_call(door::k_program, door::k_version, procedure, serial);
}

}  // namespace

Desk::Desk(loop::Loop& loop, std::uint32_t gate, UniqueFd channel, const Examiner& examiner,
           BrokerLink& broker)
    : log_(fmt::format("gate-{}", gate)), examiner_(examiner), broker_(broker) {
    channel_ = std::make_unique<rpc::Control>(loop, std::move(channel), 0, loop::to<&Desk::on_message>(*this),
                                              loop::to<&Desk::on_closed>(*this));
}

void Desk::on_message(rpc::Control::Message& message) noexcept {
    const std::uint32_t serial = message.header.serial;
    if (message.header == make_call(door::Procedure::nonces, serial) && message.payload.empty())
        serve_nonces(message.header);
    else if (message.header == make_call(door::Procedure::admit, serial))
        serve_admit(message.header, message.payload);
    else
        hang_up("it sent something that no gate sends");
}

void Desk::on_closed(std::string_view why) noexcept { hang_up(why); }

// Closes the channel. What waits for the broker is forgotten: its sessions are closed when they come.
void Desk::hang_up(std::string_view why) noexcept {
    log_.debug("channel closed: {}", why);
    broker_.forget(this);
    open_.clear();
    channel_.reset();
}

void Desk::serve_nonces(const rpc::Header& call) {
    auto nonces = nonces_.hand_out(door::k_nonces_max);
    if (!nonces) {
        log_.error("{}", nonces.error().text);
        static_cast<void>(channel_->send_error(call, rpc::k_code_internal, "internal error"));
        return;
    }
    const auto payload = proto::encode(door::NoncesRet{.nonces = std::move(*nonces)});
    require(payload.has_value(), "nonces that do not fit their message");
    if (const auto sent = channel_->send_reply(call, *payload); !sent) log_.warning("{}", sent.error().text);
}

void Desk::serve_admit(const rpc::Header& call, ByteView payload) {
    const auto proof = proto::decode<door::AdmitArgs>(payload);
    if (!proof) return hang_up(fmt::format("its proof has a {}", to_text(proof.error())));
    if (open_.contains(call.serial)) return hang_up("it used a serial twice");
    Examination examination = examiner_.examine(*proof, nonces_);
    Open admission{.client = fmt::format("{} port {}", escape(proof->source, 64), proof->source_port),
                   .presented = std::move(examination.presented)};
    if (!examination.verdict) return refuse(call, admission, examination.verdict.error().text);
    for (const std::string& warning : examination.warnings)
        log_.warning("certificate \"{}\" of {}: {}", admission.presented, admission.client, warning);
    if (const auto asked =
            broker_.ask_open_session(examination.who, call.serial, loop::to<&Desk::on_answer>(*this));
        !asked)
        return refuse(call, admission, asked.error().text);
    open_.emplace(call.serial, std::move(admission));
}

void Desk::refuse(const rpc::Header& call, const Open& admission, std::string_view rule) {
    const std::string why = escape(rule, 512);
    log_.info("client refused: {}, \"{}\": {}", admission.client, admission.presented, why);
    if (const auto sent = channel_->send_error(call, rpc::k_code_auth_failed, why); !sent)
        log_.warning("{}", sent.error().text);
}

void Desk::on_answer(BrokerAnswer& answer) noexcept {
    const auto serial = static_cast<std::uint32_t>(answer.ticket);
    const auto at = open_.find(serial);
    if (at == open_.end()) return;
    const Open admission = std::move(at->second);
    open_.erase(at);
    const rpc::Header call = make_call(door::Procedure::admit, serial);
    if (answer.grant == nullptr) return refuse(call, admission, answer.refusal);
    const auto payload = proto::encode(*answer.grant);
    require(payload.has_value(), "a grant that was decoded cannot be encoded");
    const int session = answer.session.get();
    if (const auto sent = channel_->send_reply(call, *payload, std::span(&session, 1)); !sent)
        return log_.warning("{}", sent.error().text);
    log_.info("client admitted: {}, \"{}\": session {} as {}", admission.client, admission.presented,
              answer.grant->session, escape(answer.grant->identity, 128));
}

}  // namespace virtgate::netd::doorman
