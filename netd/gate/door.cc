// SPDX-License-Identifier: LGPL-2.1-or-later
// door - the gate's side of the channel to doorman: nonces for handshakes, and letting clients in.
#include "netd/gate/door.h"

#include "libshared/rpc/error.h"
#include "proto/codec.h"

namespace virtgate::netd::gate {

namespace door = proto::door;
using door::Procedure;

namespace {

// A session's descriptor and a security layer's; a client's connection and its session's descriptor.
constexpr std::size_t k_descriptors_max = 2;

rpc::Header make_call(Procedure procedure, std::uint32_t serial) noexcept {
    return rpc::make_call(door::k_program, door::k_version, procedure, serial);
}

using Decision = Door::Decision;

// Exactly one of the two has to be there, and the right number of descriptors.
bool take_verdict(std::optional<proto::who::SessionGrant>& grant, std::optional<door::Visit>& login,
                  channel::ReceivedFds& fds, std::size_t first, Decision& decision) {
    if (grant.has_value() == login.has_value() || fds.count() != first + (grant ? 1 : 0)) return false;
    if (grant) {
        decision.kind = Decision::Kind::granted;
        decision.grant = std::move(*grant);
        decision.session = fds.take(first);
    } else {
        decision.kind = Decision::Kind::visit;
        decision.visit = std::move(*login);
    }
    return true;
}

bool take_step(ByteView payload, channel::ReceivedFds& fds, Decision& decision) {
    auto answer = proto::decode<door::StepRet>(payload);
    if (!answer || answer->complete != answer->grant.has_value()) return false;
    decision.token = std::move(answer->data);
    decision.kind = Decision::Kind::token;
    if (!answer->complete) return fds.count() == 0;
    if (fds.count() != 1 && fds.count() != 2) return false;
    decision.kind = Decision::Kind::granted;
    decision.grant = std::move(*answer->grant);
    decision.session = fds.take(0);
    if (fds.count() == 2) decision.layer = fds.take(1);
    return true;
}

}  // namespace

Door::Door(loop::Loop& loop, OnArrived arrived, loop::Target<> nonces_came) noexcept
    : loop_(loop), arrived_(arrived), nonces_came_(nonces_came) {}

void Door::adopt(UniqueFd channel) {
    if (channel_) on_closed("it was replaced");
    // Nonces belong to the channel on which they came.
    nonces_.clear();
    channel_ =
        std::make_unique<rpc::Control>(loop_, std::move(channel), k_descriptors_max,
                                       loop::to<&Door::on_message>(*this), loop::to<&Door::on_closed>(*this));
    ask_nonces();
}

void Door::ask_nonces() {
    if (!channel_ || nonces_serial_ != 0) return;
    const std::uint32_t serial = channel_->next_serial();
    if (const auto sent = channel_->send(make_call(Procedure::nonces, serial), {}))
        nonces_serial_ = serial;
    else
        log_.error("cannot ask for nonces: {}", sent.error().text);
}

bool Door::take_nonce(TlsConnection::Random& nonce) {
    if (nonces_.size() <= k_nonces_low) ask_nonces();
    if (nonces_.empty()) return false;
    nonce = nonces_.back();
    nonces_.pop_back();
    return true;
}

template <class Args>
Door::Ticket Door::ask(Procedure procedure, const Args& arguments, OnDecision decided) {
    if (!channel_ || questions_.size() >= k_waiting_max) return 0;
    const auto payload = proto::encode(arguments, rpc::Control::k_payload_max);
    if (!payload) return 0;
    const std::uint32_t serial = channel_->next_serial();
    if (const auto sent = channel_->send(make_call(procedure, serial), *payload); !sent) {
        log_.error("cannot ask doorman: {}", sent.error().text);
        return 0;
    }
    questions_.emplace(serial, Question{procedure, decided});
    return serial;
}

Door::Ticket Door::ask_admit(const door::AdmitArgs& proof, OnDecision decided) {
    return ask(Procedure::admit, proof, decided);
}

Door::Ticket Door::ask_enter(const door::EnterArgs& client, OnDecision decided) {
    return ask(Procedure::enter, client, decided);
}

Door::Ticket Door::ask_start(const door::StartArgs& exchange, OnDecision decided) {
    return ask(Procedure::start, exchange, decided);
}

Door::Ticket Door::ask_step(const door::StepArgs& exchange, OnDecision decided) {
    return ask(Procedure::step, exchange, decided);
}

void Door::forget(Ticket ticket) noexcept {
    if (const auto at = questions_.find(ticket); at != questions_.end()) at->second.decided = {};
}

void Door::leave(std::uint64_t visit) noexcept {
    if (!channel_) return;
    const auto payload = proto::encode(door::LeaveArgs{.visit = visit});
    require(payload.has_value(), "a number that cannot be encoded");
    const auto message = rpc::make_message(door::k_program, door::k_version, Procedure::leave);
    if (const auto sent = channel_->send(message, *payload); !sent)
        log_.warning("doorman cannot be told that a client left: {}", sent.error().text);
}

void Door::on_message(rpc::Control::Message& message) noexcept {
    const rpc::Header& header = message.header;
    if (header == rpc::make_message(door::k_program, door::k_version, Procedure::arrive))
        return on_arrived(message);
    if (header.program != door::k_program || header.version != door::k_version ||
        header.type != rpc::Type::reply)
        return log_.error("doorman sent something that is no reply");
    if (header.serial == nonces_serial_ && nonces_serial_ != 0)
        on_nonces(message);
    else
        on_answer(message);
}

void Door::on_nonces(const rpc::Control::Message& message) {
    nonces_serial_ = 0;
    const auto answer = proto::decode<door::NoncesRet>(message.payload);
    if (message.header.status != rpc::Status::ok || !answer || answer->nonces.empty()) {
        log_.error("doorman gives no nonces: {}", message.header.status == rpc::Status::ok
                                                      ? "its answer cannot be understood"
                                                      : escape(rpc::read_error_text(message.payload)));
        return;
    }
    const bool were_none = nonces_.empty();
    for (const auto& nonce : answer->nonces) nonces_.push_back(nonce);
    if (were_none) nonces_came_();
}

void Door::on_answer(rpc::Control::Message& message) {
    const auto at = questions_.find(message.header.serial);
    if (at == questions_.end() || static_cast<Procedure>(message.header.procedure) != at->second.procedure)
        return log_.error("doorman answered a question that is not open");
    const Question question = at->second;
    questions_.erase(at);
    // The client has gone: a session's descriptor is closed with the message.
    if (question.decided.object == nullptr) return;
    Decision decision;
    if (message.header.status != rpc::Status::ok) {
        decision.again = rpc::read_error_code(message.payload) == rpc::k_code_auth_failed;
        decision.why_not = rpc::read_error_text(message.payload);
        return question.decided(decision);
    }
    bool good = false;
    if (question.procedure == Procedure::admit || question.procedure == Procedure::enter) {
        auto answer = proto::decode<door::AdmitRet>(message.payload);
        good = answer && take_verdict(answer->grant, answer->login, message.fds, 0, decision);
    } else {
        good = take_step(message.payload, message.fds, decision);
    }
    if (!good) {
        log_.error("doorman's answer cannot be understood");
        decision = Decision{};
        decision.why_not = "internal error";
    }
    question.decided(decision);
}

void Door::on_arrived(rpc::Control::Message& message) {
    auto arguments = proto::decode<door::ArriveArgs>(message.payload);
    Arrived arrived;
    const bool is_refused = arguments && arguments->refusal && !arguments->grant && !arguments->login;
    if (!arguments || message.fds.count() == 0 ||
        (!is_refused && (arguments->refusal || !take_verdict(arguments->grant, arguments->login, message.fds,
                                                             1, arrived.decision))))
        return log_.error("doorman sent a client that cannot be understood");
    if (is_refused) arrived.decision.why_not = std::move(*arguments->refusal);
    arrived.client = message.fds.take(0);
    arrived.listener = std::move(arguments->listener);
    arrived.name = std::move(arguments->client);
    arrived.uid = arguments->uid;
    arrived.gid = arguments->gid;
    arrived.pid = arguments->pid;
    arrived_(arrived);
}

void Door::on_closed(std::string_view why) noexcept {
    log_.error("the channel to doorman is closed: {}", why);
    channel_.reset();
    // The next doorman does not know these nonces: clients wait for new ones.
    nonces_.clear();
    nonces_serial_ = 0;
    for (const auto& [serial, question] : std::exchange(questions_, {})) {
        if (question.decided.object == nullptr) continue;
        Decision decision;
        decision.why_not = "doorman has ended";
        question.decided(decision);
    }
}

}  // namespace virtgate::netd::gate
