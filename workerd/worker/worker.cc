// SPDX-License-Identifier: LGPL-2.1-or-later
// worker - the sessions of one identity, and the channel to the broker.
#include "workerd/worker/worker.h"

#include "proto/codec.h"
#include "proto/work.h"

namespace virtgate::workerd::worker {

namespace {

using proto::work::Procedure;

rpc::Header header_of(Procedure procedure, std::uint32_t serial) noexcept {
    return rpc::make_message(proto::work::k_program, proto::work::k_version, procedure, serial);
}

}  // namespace

Worker::Worker(loop::Loop& loop, Settings settings, UniqueFd control)
    : loop_(loop),
      settings_(std::move(settings)),
      home_{loop, settings_.uris, scratch_, settings_.upstream_timeout},
      control_(loop, std::move(control), 1, loop::to<&Worker::on_message>(*this),
               loop::to<&Worker::on_closed>(*this)) {
    if (const auto sent = control_.send(header_of(Procedure::ready, control_.next_serial()), {}); !sent)
        log_.error("the broker cannot be told that the worker serves: {}", sent.error().text);
}

void Worker::on_message(rpc::Control::Message& message) noexcept {
    if (const std::string_view flaw = serve(message); !flaw.empty()) {
        // Broker and worker are of one build: this is a bug, and sessions without a broker are not wanted.
        log_.error("the broker sent {}", flaw);
        loop_.stop();
    }
}

// Returns what is wrong with the message; empty if nothing is.
std::string_view Worker::serve(rpc::Control::Message& message) {
    const rpc::Header expected = header_of(Procedure::serve, message.header.serial);
    if (message.header != expected) return "a message that is not known here";
    if (message.fds.count() != 1) return "a session without its descriptor";
    auto args = proto::decode<proto::work::ServeArgs>(message.payload);
    if (!args) return "a session that does not decode";
    UniqueFd gate = message.fds.take(0);
    const std::uint64_t number = args->session;
    if (sessions_.size() >= settings_.sessions_max || sessions_.contains(number)) {
        log_.warning("session {} refused: the worker has {} sessions", number, sessions_.size());
        say_ended(number);
        return {};
    }
    if (!set_nonblocking(gate.get(), true)) return "a session with a closed descriptor";
    sessions_.emplace(
        number, std::make_unique<Session>(home_, number, settings_.identity, Rights(std::move(args->may)),
                                          std::move(gate), loop::to<&Worker::on_session_ended>(*this)));
    return {};
}

void Worker::on_session_ended(std::uint64_t number) noexcept {
    sessions_.erase(number);
    say_ended(number);
}

void Worker::say_ended(std::uint64_t number) {
    const auto payload = proto::encode(proto::work::EndedArgs{.session = number});
    require(payload.has_value(), "the number of a session does not encode");
    if (const auto sent = control_.send(header_of(Procedure::ended, control_.next_serial()), *payload);
        !sent) {
        log_.error("the broker does not listen: {}", sent.error().text);
        loop_.stop();
    }
}

void Worker::on_closed(std::string_view reason) noexcept {
    log_.debug("the channel to the broker closed: {}", reason);
    loop_.stop();
}

}  // namespace virtgate::workerd::worker
