// SPDX-License-Identifier: LGPL-2.1-or-later
// desk - doorman's side of the channel to one gate: nonces, who may come in, and who has to log in first.
#include "netd/doorman/desk.h"

#include <fmt/format.h>

#include "libshared/rpc/error.h"
#include "proto/codec.h"

namespace virtgate::netd::doorman {

namespace door = proto::door;
using door::Procedure;
using proto::config::LoginMode;

namespace {

constexpr std::uint64_t k_first_local = std::uint64_t{1} << 32;
constexpr Milliseconds k_visit_sweep{5'000};
constexpr std::uint64_t k_gates_max = 1024;  // see adopt_args in proto/supervise.x

rpc::Header make_call(Procedure procedure, std::uint32_t serial) noexcept {
    return rpc::make_call(door::k_program, door::k_version, procedure, serial);
}

DeskTools of_gate(DeskTools tools, std::uint32_t gate) {
    tools.visit.gate = gate;
    return tools;
}

std::string join(const std::vector<std::string>& names) { return fmt::format("{}", fmt::join(names, ",")); }

// As libvirt's own daemons put them: a client picks the first that it knows.
door::Visit describe(const Visit& visit) {
    return {.id = visit.id(), .mechanisms = join(visit.mechanisms())};
}

}  // namespace

Desk::Desk(const DeskTools& tools, std::uint32_t gate, UniqueFd channel, loop::Target<std::uint32_t> on_gone)
    : tools_(of_gate(tools, gate)),
      gate_(gate),
      on_gone_(on_gone),
      log_(fmt::format("gate-{}", gate)),
      local_tickets_(k_first_local),
      sweep_(tools.visit.loop.timer(loop::to<&Desk::on_sweep>(*this))) {
    channel_ =
        std::make_unique<rpc::Control>(tools_.visit.loop, std::move(channel), 0,
                                       loop::to<&Desk::on_message>(*this), loop::to<&Desk::on_closed>(*this));
}

void Desk::on_message(rpc::Control::Message& message) noexcept {
    const rpc::Header& header = message.header;
    const auto is = [&](Procedure procedure) { return header == make_call(procedure, header.serial); };
    if (is(Procedure::nonces) && message.payload.empty())
        serve_nonces(header);
    else if (is(Procedure::admit))
        serve_admit(header, message.payload);
    else if (is(Procedure::enter))
        serve_enter(header, message.payload);
    else if (is(Procedure::start))
        serve_exchange(header, message.payload, &Visit::serve_start);
    else if (is(Procedure::step))
        serve_exchange(header, message.payload, &Visit::serve_step);
    else if (header == rpc::make_message(door::k_program, door::k_version, Procedure::leave))
        serve_leave(message.payload);
    else
        hang_up("it sent something that no gate sends");
}

void Desk::on_closed(std::string_view why) noexcept { hang_up(why); }

// Closes the channel. What waits for the broker is forgotten: its sessions are closed when they come. The gate gets
// another channel only when one of the two is started anew.
void Desk::hang_up(std::string_view why) noexcept {
    log_.info("channel closed: {}", why);
    tools_.visit.broker.forget(this);
    open_.clear();
    visits_.clear();
    channel_.reset();
    on_gone_(gate_);
}

template <class Answer>
void Desk::send_reply(const rpc::Header& call, const Answer& answer, std::span<const int> fds) {
    const auto payload = proto::encode(answer, rpc::Control::k_payload_max);
    require(payload.has_value(), "an answer that does not fit its message");
    if (const auto sent = channel_->send_reply(call, *payload, fds); !sent)
        log_.warning("{}", sent.error().text);
}

void Desk::send_arrival(const door::ArriveArgs& arrival, std::span<const int> fds) {
    const auto payload = proto::encode(arrival, rpc::Control::k_payload_max);
    require(payload.has_value(), "an arrival that does not fit its message");
    const auto message = rpc::make_message(door::k_program, door::k_version, Procedure::arrive);
    if (const auto sent = channel_->send(message, *payload, fds); !sent)
        log_.warning("{}", sent.error().text);
}

void Desk::serve_nonces(const rpc::Header& call) {
    auto nonces = nonces_.hand_out(door::k_nonces_max);
    if (!nonces) {
        log_.error("{}", nonces.error().text);
        static_cast<void>(channel_->send_error(call, rpc::k_code_internal, "internal error"));
        return;
    }
    send_reply(call, door::NoncesRet{.nonces = std::move(*nonces)}, {});
}

void Desk::serve_admit(const rpc::Header& call, ByteView payload) {
    const auto proof = proto::decode<door::AdmitArgs>(payload);
    if (!proof) return hang_up(fmt::format("its proof has a {}", to_text(proof.error())));
    if (open_.contains(call.serial)) return hang_up("it used a serial twice");
    Examination examination = tools_.examiner.examine(*proof, nonces_);
    Open admission{.client = fmt::format("{} port {}", escape(proof->source, 64), proof->source_port),
                   .presented = fmt::format("\"{}\"", examination.presented),
                   .who = std::move(examination.who),
                   .connection = {}};
    if (!examination.verdict) return refuse(call.serial, admission, examination.verdict.error().text);
    for (const std::string& warning : examination.warnings)
        log_.warning("certificate {} of {}: {}", admission.presented, admission.client, warning);
    if (!judge(tools_.tls, call.serial, std::move(admission)))
        hang_up("it shows a certificate where none is asked for");
}

void Desk::serve_enter(const rpc::Header& call, ByteView payload) {
    const auto client = proto::decode<door::EnterArgs>(payload);
    if (!client) return hang_up(fmt::format("its client has a {}", to_text(client.error())));
    if (open_.contains(call.serial)) return hang_up("it used a serial twice");
    const bool is_tls = client->listener == "tls";
    const LoginMode mode = is_tls                      ? tools_.tls
                           : client->listener == "tcp" ? tools_.tcp
                                                       : LoginMode::login_off;
    // Without a certificate there is only the way through SASL; and only TLS encrypts.
    if ((mode != LoginMode::login_sasl && mode != LoginMode::login_either) ||
        is_tls != (client->strength != 0))
        return hang_up("it lets in a client that has to show something first");
    Open admission{.client = fmt::format("{} port {}", escape(client->source, 64), client->source_port),
                   .presented = is_tls ? "no certificate" : "plain TCP",
                   .who = {},
                   .connection = {}};
    auto source = normalise_address(client->source);
    if (!source) return refuse(call.serial, admission, source.error().text);
    admission.who.source = std::move(*source);
    admission.who.source_port = client->source_port;
    admission.who.strength = client->strength;
    admission.who.listener = client->listener;
    log_in(call.serial, std::move(admission));
}

// Which way a client goes that has proved something already. False if there is none.
bool Desk::judge(LoginMode mode, std::uint64_t ticket, Open admission) {
    switch (mode) {
        case LoginMode::login_direct:
        case LoginMode::login_either: go_in(ticket, std::move(admission)); return true;
        case LoginMode::login_both: log_in(ticket, std::move(admission)); return true;
        case LoginMode::login_sasl:
        case LoginMode::login_off: break;
    }
    return false;
}

void Desk::go_in(std::uint64_t ticket, Open admission) {
    if (const auto asked =
            tools_.visit.broker.ask_open_session(admission.who, ticket, loop::to<&Desk::on_answer>(*this));
        !asked)
        return refuse(ticket, admission, asked.error().text, k_no_room);
    open_.emplace(ticket, std::move(admission));
}

void Desk::on_answer(BrokerAnswer& answer) noexcept {
    const auto at = open_.find(answer.ticket);
    if (at == open_.end()) return;
    Open admission = std::move(at->second);
    open_.erase(at);
    const bool is_local = answer.ticket >= k_first_local;
    if (answer.grant == nullptr) {
        const LoginMode mode = is_local ? tools_.local : tools_.tls;
        if (mode == LoginMode::login_either && answer.code == rpc::k_code_access_denied) {
            log_.info("client has to log in: {}, {}: {}", admission.client, admission.presented,
                      escape(answer.refusal, 256));
            return log_in(answer.ticket, std::move(admission));
        }
        return refuse(answer.ticket, admission, answer.refusal,
                      answer.code == rpc::k_code_access_denied ? k_not_allowed : k_no_room);
    }
    tools_.visit.counts.note_admission(admission.who.listener, Counts::Result::granted);
    log_.info("client admitted: {}, {}: session {} as {}", admission.client, admission.presented,
              answer.grant->session, escape(answer.grant->identity, 128));
    if (is_local) {
        const int fds[] = {admission.connection.get(), answer.session.get()};
        return send_arrival({.grant = *answer.grant,
                             .login = {},
                             .refusal = {},
                             .listener = admission.who.listener,
                             .client = admission.client,
                             .uid = admission.who.local->uid,
                             .gid = admission.who.local->gid,
                             .pid = admission.who.local->pid},
                            fds);
    }
    const int session = answer.session.get();
    send_reply(make_call(Procedure::admit, static_cast<std::uint32_t>(answer.ticket)),
               door::AdmitRet{.grant = *answer.grant, .login = {}}, std::span(&session, 1));
}

void Desk::log_in(std::uint64_t ticket, Open admission) {
    if (visits_.size() >= k_visits_max)
        return refuse(ticket, admission, "too many clients log in at a time", k_no_room);
    // One number for each visit of this doorman, for its logs.
    const std::uint64_t id = ++last_visit_ * k_gates_max + gate_;
    VisitOwner& self = *this;
    auto visit = std::make_unique<Visit>(tools_.visit, self, id, std::move(admission.who), admission.client);
    if (visit->mechanisms().empty()) {
        admission.who = visit->who();
        return refuse(ticket, admission, "there is no SASL mechanism that it could use");
    }
    tools_.visit.counts.note_admission(visit->who().listener, Counts::Result::login);
    if (!sweep_->running()) sweep_->start(k_visit_sweep);
    if (ticket >= k_first_local) {
        const int connection = admission.connection.get();
        const proto::who::Who& who = visit->who();
        send_arrival({.grant = {},
                      .login = describe(*visit),
                      .refusal = {},
                      .listener = who.listener,
                      .client = admission.client,
                      .uid = who.local->uid,
                      .gid = who.local->gid,
                      .pid = who.local->pid},
                     std::span(&connection, 1));
    } else {
        const auto procedure = visit->who().certificate ? Procedure::admit : Procedure::enter;
        send_reply(make_call(procedure, static_cast<std::uint32_t>(ticket)),
                   door::AdmitRet{.grant = {}, .login = describe(*visit)}, {});
    }
    visits_.emplace(id, std::move(visit));
}

void Desk::refuse(std::uint64_t ticket, const Open& admission, std::string_view rule, const char* told) {
    const std::string why = escape(rule, 512);
    tools_.visit.counts.note_admission(admission.who.listener, Counts::Result::refused);
    log_.info("client refused: {}, {}: {}", admission.client, admission.presented, why);
    if (ticket >= k_first_local) {
        const int connection = admission.connection.get();
        return send_arrival({.grant = {},
                             .login = {},
                             .refusal = told,
                             .listener = admission.who.listener,
                             .client = admission.client,
                             .uid = admission.who.local->uid,
                             .gid = admission.who.local->gid,
                             .pid = admission.who.local->pid},
                            std::span(&connection, 1));
    }
    const auto procedure = admission.who.certificate || admission.presented.starts_with('"')
                               ? Procedure::admit
                               : Procedure::enter;
    if (const auto sent = channel_->send_error(make_call(procedure, static_cast<std::uint32_t>(ticket)),
                                               rpc::k_code_auth_failed, why);
        !sent)
        log_.warning("{}", sent.error().text);
}

void Desk::receive_local(proto::who::Who who, UniqueFd client, std::string name) {
    Open admission{.client = std::move(name),
                   .presented = "a UNIX socket's client",
                   .who = std::move(who),
                   .connection = std::move(client)};
    admission.who.local_counts = tools_.local != LoginMode::login_sasl;
    if (open_.size() >= k_local_max)
        return refuse(++local_tickets_, admission, "too many clients at a time", k_no_room);
    if (tools_.local == LoginMode::login_sasl) return log_in(++local_tickets_, std::move(admission));
    require(judge(tools_.local, ++local_tickets_, std::move(admission)),
            "a client of a socket that does not exist");
}

// Only the gate that a visit was made for can name it.
template <class Args>
void Desk::serve_exchange(const rpc::Header& call, ByteView payload, bool (Visit::*serve)(Args)) {
    auto arguments = proto::decode<Args>(payload);
    if (!arguments) return hang_up(fmt::format("its token has a {}", to_text(arguments.error())));
    const auto at = visits_.find(arguments->visit);
    if (at == visits_.end()) {
        // It was too slow, and the gate may not know that yet.
        static_cast<void>(channel_->send_error(call, rpc::k_code_operation_failed, "the visit is over"));
        return;
    }
    at->second->question = call;
    if (!(*at->second.*serve)(std::move(*arguments))) hang_up("its client speaks when it is not asked");
}

void Desk::serve_leave(ByteView payload) {
    const auto arguments = proto::decode<door::LeaveArgs>(payload);
    if (!arguments) return hang_up("it sent a malformed LEAVE");
    visits_.erase(arguments->visit);
}

void Desk::on_token(Visit& visit, std::optional<door::Token> token) noexcept {
    send_reply(visit.question, door::StepRet{.complete = false, .data = std::move(token), .grant = {}}, {});
}

void Desk::on_granted(Visit& visit, std::optional<door::Token> token, BrokerAnswer& answer,
                      UniqueFd layer) noexcept {
    const int fds[] = {answer.session.get(), layer.get()};
    send_reply(visit.question,
               door::StepRet{.complete = true, .data = std::move(token), .grant = *answer.grant},
               std::span(fds, layer ? 2 : 1));
    visits_.erase(visit.id());
}

void Desk::on_refused(Visit& visit, bool again) noexcept {
    const int code = again ? rpc::k_code_auth_failed : rpc::k_code_operation_failed;
    const char* text = again ? "authentication failed" : "authentication failed too often";
    if (const auto sent = channel_->send_error(visit.question, code, text); !sent)
        log_.warning("{}", sent.error().text);
    if (!again) visits_.erase(visit.id());
}

// Visits that last too long: their gate should have ended them.
void Desk::on_sweep() noexcept {
    const Instant now = tools_.visit.loop.clock().now();
    std::erase_if(visits_, [&](const auto& each) {
        return now - each.second->since() >= tools_.login + k_visit_sweep;
    });
    if (!visits_.empty()) sweep_->start(k_visit_sweep);
}

}  // namespace virtgate::netd::doorman
