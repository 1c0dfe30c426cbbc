// SPDX-License-Identifier: LGPL-2.1-or-later
// door - the gate's side of the channel to doorman: nonces for handshakes, and letting clients in.
#include "netd/gate/door.h"

#include <algorithm>

#include "libshared/rpc/error.h"
#include "proto/codec.h"

namespace virtgate::netd::gate {

namespace door = proto::door;

namespace {

rpc::Header make_call(door::Procedure procedure, std::uint32_t serial) noexcept {
    return rpc::make_call(door::k_program, door::k_version, procedure, serial);
}

}  // namespace

Door::Door(loop::Loop& loop, OnDecision decided, loop::Target<> nonces_came) noexcept
    : loop_(loop), decided_(decided), nonces_came_(nonces_came) {}

void Door::adopt(UniqueFd channel) {
    if (channel_) on_closed("it was replaced");
    // Nonces belong to the channel on which they came.
    nonces_.clear();
    channel_ = std::make_unique<rpc::Control>(
        loop_, std::move(channel), 1, loop::to<&Door::on_message>(*this), loop::to<&Door::on_closed>(*this));
    ask_nonces();
}

void Door::ask_nonces() {
    if (!channel_ || nonces_serial_ != 0) return;
    const std::uint32_t serial = channel_->next_serial();
    if (const auto sent = channel_->send(make_call(door::Procedure::nonces, serial), {}))
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

std::uint64_t Door::ask_admit(const door::AdmitArgs& proof) {
    if (!channel_ || waiting_.size() >= k_waiting_max) return 0;
    const auto arguments = proto::encode(proof);
    if (!arguments || arguments->size() > rpc::Control::k_payload_max) return 0;
    const std::uint32_t serial = channel_->next_serial();
    if (const auto sent = channel_->send(make_call(door::Procedure::admit, serial), *arguments); !sent) {
        log_.error("cannot ask to let a client in: {}", sent.error().text);
        return 0;
    }
    waiting_.emplace(serial, ++tickets_);
    return tickets_;
}

void Door::forget(std::uint64_t ticket) noexcept {
    const auto at =
        std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& w) { return w.second == ticket; });
    if (at != waiting_.end()) at->second = 0;
}

void Door::on_message(rpc::Control::Message& message) noexcept {
    if (message.header.program != door::k_program || message.header.version != door::k_version ||
        message.header.type != rpc::Type::reply) {
        log_.error("doorman sent something that is no reply");
        return;
    }
    if (message.header.serial == nonces_serial_ && nonces_serial_ != 0)
        on_nonces(message);
    else
        on_admitted(message);
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

void Door::on_admitted(rpc::Control::Message& message) {
    const auto at = waiting_.find(message.header.serial);
    if (at == waiting_.end()) {
        log_.error("doorman answered a question that is not open");
        return;
    }
    const std::uint64_t ticket = at->second;
    waiting_.erase(at);
    if (ticket == 0) return;  // the client has gone; the session's descriptor is closed with the message
    if (message.header.status != rpc::Status::ok)
        return decide(ticket, nullptr, {}, rpc::read_error_text(message.payload));
    auto grant = proto::decode<proto::who::SessionGrant>(message.payload);
    if (!grant || message.fds.count() != 1) {
        log_.error("doorman's answer cannot be understood");
        return decide(ticket, nullptr, {}, "internal error");
    }
    decide(ticket, &*grant, message.fds.take(0), {});
}

void Door::on_closed(std::string_view why) noexcept {
    log_.error("the channel to doorman is closed: {}", why);
    channel_.reset();
    // The next doorman does not know these nonces: clients wait for new ones.
    nonces_.clear();
    nonces_serial_ = 0;
    for (const auto& [serial, ticket] : std::exchange(waiting_, {}))
        if (ticket != 0) decide(ticket, nullptr, {}, "doorman has ended");
}

void Door::decide(std::uint64_t ticket, proto::who::SessionGrant* grant, UniqueFd session,
                  std::string_view why_not) {
    Decision decision{ticket, grant, std::move(session), why_not};
    decided_(decision);
}

}  // namespace virtgate::netd::gate
