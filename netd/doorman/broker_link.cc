// SPDX-License-Identifier: LGPL-2.1-or-later
// broker_link - doorman's connection to the broker, which opens sessions.
#include "netd/doorman/broker_link.h"

#include <sys/socket.h>

#include <algorithm>

#include "libshared/channel/connect.h"
#include "libshared/rpc/error.h"
#include "proto/codec.h"

namespace virtgate::netd::doorman {

namespace broker = proto::broker;

namespace {

constexpr Milliseconds k_sweep{1'000};

rpc::Header make_call(broker::Procedure procedure, std::uint32_t serial) noexcept {
    return rpc::make_call(broker::k_program, broker::k_version, procedure, serial);
}

}  // namespace

BrokerLink::BrokerLink(loop::Loop& loop, std::string path)
    : loop_(loop),
      path_(std::move(path)),
      retry_timer_(loop.timer(loop::to<&BrokerLink::on_retry>(*this))),
      sweep_timer_(loop.timer(loop::to<&BrokerLink::on_sweep>(*this))) {}

Done BrokerLink::ask_open_session(const proto::who::Who& who, std::uint64_t ticket, OnAnswer answer) {
    if (questions_.size() >= k_waiting_max) return system_fault(0, "too many clients wait for the broker");
    auto payload = proto::encode(who, rpc::Control::k_payload_max);
    if (!payload)
        return system_fault(
            0, fmt::format("a client cannot be described to the broker: {}", to_text(payload.error())));
    add({.procedure = broker::Procedure::open_session,
         .answer = answer,
         .ticket = ticket,
         .payload = std::move(*payload),
         .asked = loop_.clock().now()});
    return {};
}

void BrokerLink::report_revoked(const std::vector<proto::who::CertificateId>& certificates) {
    for (std::size_t at = 0; at < certificates.size(); at += broker::k_revoked_max) {
        const std::size_t end = std::min(at + broker::k_revoked_max, certificates.size());
        const auto payload = proto::encode(
            broker::RevokeArgs{.certificates = {certificates.begin() + static_cast<std::ptrdiff_t>(at),
                                                certificates.begin() + static_cast<std::ptrdiff_t>(end)}},
            rpc::Control::k_payload_max);
        if (!payload || questions_.size() >= k_waiting_max)
            return log_.error("the broker cannot be told all that is revoked");
        add({.procedure = broker::Procedure::revoke,
             .answer = {},
             .ticket = 0,
             .payload = *payload,
             .asked = loop_.clock().now()});
    }
}

void BrokerLink::add(Question question) {
    while (questions_.contains(++serial_)) {
    }
    questions_.emplace(serial_, std::move(question));
    if (!sweep_timer_->running()) sweep_timer_->start(k_sweep);
    if (control_)
        send_waiting();
    else if (!retry_timer_->running())
        retry_timer_->start(Milliseconds{0});  // from the loop, so that no answer comes from within this call
}

void BrokerLink::forget(const void* asker) noexcept {
    // The places stay until the answers come, so that a gate that comes and goes cannot ask without a bound.
    for (auto& [serial, question] : questions_)
        if (question.answer.object == asker) question.answer = {};
}

void BrokerLink::connect() noexcept {
    auto socket = channel::connect_to(path_, SOCK_SEQPACKET);
    if (!socket) {
        if (retry_ == k_retry_min)
            log_.error("cannot connect to the broker: {}; clients wait", socket.error().text);
        retry_timer_->start(retry_);
        retry_ = std::min(2 * retry_, k_retry_max);
        return;
    }
    log_.info("connected to {}", path_);
    retry_ = k_retry_min;
    control_ =
        std::make_unique<rpc::Control>(loop_, std::move(*socket), 1, loop::to<&BrokerLink::on_message>(*this),
                                       loop::to<&BrokerLink::on_closed>(*this));
    send_waiting();
}

void BrokerLink::send_waiting() noexcept {
    for (auto& [serial, question] : questions_) {
        if (question.payload.empty()) continue;
        // A channel that is closed or full: the rest waits for the next connection or the next answer.
        if (!control_->send(make_call(question.procedure, serial), question.payload)) return;
        question.payload = ByteVector{};
    }
}

void BrokerLink::on_message(rpc::Control::Message& message) noexcept {
    const auto at = questions_.find(message.header.serial);
    const auto is_reply = [&](const Question& question) {
        const rpc::Header call = make_call(question.procedure, message.header.serial);
        return message.header == rpc::reply_to(call) ||
               message.header == rpc::reply_to(call, rpc::Status::error);
    };
    if (at == questions_.end() || !at->second.payload.empty() || !is_reply(at->second))
        return log_.error("the broker sent something that is no answer");
    const Question question = std::move(at->second);
    questions_.erase(at);
    if (message.header.status == rpc::Status::error) {
        answer(question, nullptr, {}, rpc::read_error_text(message.payload),
               rpc::read_error_code(message.payload));
    } else if (question.procedure == broker::Procedure::revoke) {
        const auto ended = proto::decode<broker::RevokeRet>(message.payload);
        if (ended && ended->sessions != 0)
            log_.info("{} sessions ended, since their certificates are revoked", ended->sessions);
    } else if (const auto grant = proto::decode<proto::who::SessionGrant>(message.payload);
               grant && message.fds.count() == 1) {
        answer(question, &*grant, message.fds.take(0), {}, 0);
    } else {
        log_.error("the broker's answer cannot be understood");
        answer(question, nullptr, {}, "internal error", rpc::k_code_internal);
    }
    if (control_) send_waiting();
}

void BrokerLink::on_closed(std::string_view why) noexcept {
    log_.error("the connection is closed: {}", why);
    control_.reset();
    std::vector<Question> lost;
    for (auto at = questions_.begin(); at != questions_.end();) {
        if (at->second.payload.empty()) {
            lost.push_back(std::move(at->second));
            at = questions_.erase(at);
        } else {
            ++at;
        }
    }
    if (!questions_.empty()) retry_timer_->start(retry_);
    for (const Question& question : lost)
        answer(question, nullptr, {}, "the broker has ended", rpc::k_code_internal);
}

void BrokerLink::on_retry() noexcept {
    const bool somebody_waits = std::any_of(questions_.begin(), questions_.end(),
                                            [](const auto& q) { return !q.second.payload.empty(); });
    if (!control_ && somebody_waits) connect();
}

void BrokerLink::on_sweep() noexcept {
    const Instant now = loop_.clock().now();
    std::vector<Question> late;
    for (auto at = questions_.begin(); at != questions_.end();) {
        if (now - at->second.asked >= k_patience) {
            late.push_back(std::move(at->second));
            at = questions_.erase(at);
        } else {
            ++at;
        }
    }
    if (!questions_.empty()) sweep_timer_->start(k_sweep);
    for (const Question& question : late)
        answer(question, nullptr, {}, "the broker does not answer", rpc::k_code_internal);
}

void BrokerLink::answer(const Question& question, const proto::who::SessionGrant* grant, UniqueFd session,
                        std::string_view refusal, int code) noexcept {
    if (question.answer.object == nullptr) return;  // the session, if there is one, is closed here
    BrokerAnswer result{question.ticket, grant, std::move(session), refusal, code};
    question.answer(result);
}

}  // namespace virtgate::netd::doorman
