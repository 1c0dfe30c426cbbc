// SPDX-License-Identifier: LGPL-2.1-or-later
// link - one of our processes that the steward asks: a gate, or the supervisor.
#include "netd/steward/link.h"

#include <algorithm>

namespace virtgate::netd::steward {

namespace control = proto::control;

rpc::Failure no_answer() {
    return {.code = rpc::k_code_operation_failed,
            .message = "the process that had to be asked does not answer"};
}

Link::Link(loop::Loop& loop, UniqueFd channel, const std::string& name, metrics::Sources sources)
    : loop_(loop),
      log_(name),
      control_(std::make_unique<rpc::Control>(loop, std::move(channel), 0, loop::to<&Link::on_message>(*this),
                                              loop::to<&Link::on_closed>(*this))),
      sources_(sources),
      asker_(loop, sources),
      timer_(loop.timer(loop::to<&Link::on_time>(*this))) {}

Link::~Link() = default;

void Link::ask(control::Procedure procedure, ByteView payload, Milliseconds patience, Then then) {
    if (!control_ || questions_.size() >= k_questions_max) return then(tl::unexpected(no_answer()));
    const std::uint32_t serial = control_->next_serial();
    const auto call = rpc::make_call(control::k_program, control::k_version, procedure, serial);
    if (const auto sent = control_->send(call, payload); !sent) {
        log_.warning("{}", sent.error().text);
        return then(tl::unexpected(no_answer()));
    }
    questions_.emplace(
        serial,
        Question{.procedure = procedure, .until = loop_.clock().now() + patience, .then = std::move(then)});
    if (!timer_->running()) timer_->start(patience);
}

void Link::read(std::function<void(const metrics::Samples&)> then) {
    if (!control_) return then(last_);
    asker_.ask(*control_, [this, then = std::move(then)](const metrics::Asker::Answer& answer) {
        if (!answer) return then(last_);
        last_ = metrics::counters_of(*answer);
        then(*answer);
    });
}

// What a gate has counted, when it ends. It says that once, and in one message: it has few families.
bool Link::take_last(const rpc::Control::Message& message) {
    namespace wire = proto::metrics;
    if (message.header != rpc::make_message(wire::k_program, wire::k_version, wire::Procedure::last))
        return false;
    auto said = proto::decode<wire::ReadRet>(message.payload);
    const bool is_good =
        said && std::all_of(said->samples.begin(), said->samples.end(),
                            [&](const auto& sample) { return metrics::is_of(sample, sources_); });
    if (is_good)
        last_ = metrics::counters_of(std::move(said->samples));
    else
        distrust("it says that it has counted what it cannot have");
    return true;
}

void Link::on_message(rpc::Control::Message& message) noexcept {
    if (asker_.take(message) || take_last(message)) return;
    const auto found = questions_.find(message.header.serial);
    // One that comes too late was given up.
    if (found == questions_.end()) return log_.debug("an answer that nobody waits for");
    const auto call = rpc::make_call(control::k_program, control::k_version, found->second.procedure,
                                     message.header.serial);
    const bool is_good = message.header == rpc::reply_to(call);
    if (!is_good && message.header != rpc::reply_to(call, rpc::Status::error))
        return distrust("it sent something else than an answer");
    const Then then = std::move(found->second.then);
    questions_.erase(found);
    if (is_good) return then(ByteVector(message.payload.begin(), message.payload.end()));
    then(tl::unexpected(rpc::Failure{.code = rpc::read_error_code(message.payload),
                                     .message = escape(rpc::read_error_text(message.payload), 2048)}));
}

void Link::on_closed(std::string_view why) noexcept {
    log_.debug("gone: {}", why);
    give_up();
}

void Link::distrust(std::string_view why) noexcept {
    log_.error("{}; nothing more is heard of it", why);
    give_up();
}

void Link::give_up() noexcept {
    control_.reset();
    timer_->stop();
    asker_.give_up();
    for (auto& [serial, question] : std::exchange(questions_, {})) question.then(tl::unexpected(no_answer()));
}

void Link::on_time() noexcept {
    const Instant now = loop_.clock().now();
    std::vector<Then> late;
    Instant next = Instant::max();
    for (auto at = questions_.begin(); at != questions_.end();) {
        if (at->second.until <= now) {
            late.push_back(std::move(at->second.then));
            at = questions_.erase(at);
        } else {
            next = std::min(next, at->second.until);
            ++at;
        }
    }
    if (!questions_.empty()) timer_->start(std::chrono::ceil<Milliseconds>(next - now));
    if (!late.empty()) log_.warning("it does not answer");
    for (const Then& then : late) then(tl::unexpected(no_answer()));
}

}  // namespace virtgate::netd::steward
