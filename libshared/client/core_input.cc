// SPDX-License-Identifier: LGPL-2.1-or-later
// core_input - what the server's frames mean, and for whom they are.
#include <fmt/format.h>

#include <algorithm>

#include "libshared/client/core.h"

namespace virtgate::client {

namespace {

// Events that wait for the reply to their registration.
constexpr std::size_t k_orphans_max = 256;

bool answers(const rpc::Header& reply, const rpc::Header& call) noexcept {
    return reply.program == call.program && reply.version == call.version &&
           reply.procedure == call.procedure;
}

// The callback id comes first in the newer events.
bool fits(const EventHandler& handler, std::uint32_t program, std::uint32_t procedure,
          ByteView payload) noexcept {
    if (handler.program != program || handler.procedure != procedure) return false;
    if (!handler.callback_id) return true;
    return payload.size() >= 4 &&
           load_be32(payload.data()) == static_cast<std::uint32_t>(*handler.callback_id);
}

}  // namespace

Request repeat(const Request& request) {
    return {.program = request.program,
            .version = request.version,
            .procedure = request.procedure,
            .payload = request.payload,
            .fds = {},
            .opens_stream = request.opens_stream,
            .sparse = request.sparse,
            .link = request.link,
            .on_reply = {}};
}

void EventHandler::name(ByteView reply) {
    if (reply.size() >= 4) callback_id = static_cast<std::int32_t>(load_be32(reply.data()));
    deregister.payload.assign(reply.begin(), reply.end());
}

void Core::broken(std::string text) {
    shut(CloseReason::error,
         Failure{.cause = Cause::protocol, .text = "the server broke the protocol: " + std::move(text)});
}

void Core::absorb(Lock& lock, Batch batch) {
    if (!batch.frames.empty()) pings_.on_input(system_clock().now());
    for (Incoming& frame : batch.frames) {
        if (closed_) return;
        switch (frame.header.type) {
            case rpc::Type::reply:
            case rpc::Type::reply_with_fds: take_reply(frame); break;
            case rpc::Type::message: take_message(frame); break;
            case rpc::Type::stream:
            case rpc::Type::stream_hole: take_stream(lock, frame); break;
            case rpc::Type::call:
            case rpc::Type::call_with_fds: broken("it made a call"); break;
            default:
                broken(fmt::format("a message of type {}", static_cast<std::uint32_t>(frame.header.type)));
        }
    }
    if (batch.failure) shut(batch.reason, std::move(*batch.failure));
}

void Core::take_reply(Incoming& frame) {
    const auto found = pending_.find(frame.header.serial);
    if (found == pending_.end()) {
        // A hole that could not be written is told as if it were a reply.
        const auto stream = streams_.find(frame.header.serial);
        if (stream != streams_.end() && answers(frame.header, stream->second->header) &&
            frame.header.status == rpc::Status::error) {
            const auto state = stream->second;
            end_of_stream(frame.header.serial);
            return fail_stream(*state, read_remote_error(frame.payload));
        }
        return broken(fmt::format("an answer to nothing, serial {}", frame.header.serial));
    }
    const std::shared_ptr<Pending> pending = found->second;
    if (!answers(frame.header, pending->header))
        return broken("an answer to another procedure than was called");
    if (frame.header.status == rpc::Status::error) {
        pending_.erase(found);
        if (pending->stream) end_of_stream(frame.header.serial);
        return complete(pending, fail(read_remote_error(frame.payload)));
    }
    if (frame.header.status != rpc::Status::ok) return broken("an answer that is neither good nor an error");
    pending_.erase(found);

    Reply reply{.payload = std::move(frame.payload), .fds = std::move(frame.fds), .stream = {}};
    if (pending->stream) {
        reply.stream = pending->stream;
        reply.stream->opening = false;
        reply.stream->taken = system_clock().now();
        // Nobody wants it any more, or it cannot be kept: the server could not be told before.
        if (reply.stream->state == StreamState::State::aborting && streams_.contains(frame.header.serial))
            abort_stream(reply.stream);
    }
    if (pending->on_reply) pending->on_reply(*this, reply, pending->abandoned);
    complete(pending, std::move(reply));
}

void Core::take_message(Incoming& frame) {
    const rpc::Header& header = frame.header;
    if (header.program == rpc::k_keepalive_program) {
        if (header.version == rpc::k_keepalive_version &&
            header.procedure == static_cast<std::uint32_t>(rpc::Keepalive::ping))
            queue_keepalive(rpc::Keepalive::pong);
        return;
    }
    if (header.status != rpc::Status::ok) return broken("an event with a status");
    bool known = false;
    for (const auto& handler : handlers_) {
        if (handler->link != link_ || !fits(*handler, header.program, header.procedure, frame.payload))
            continue;
        known = true;
        deliver_event(handler, frame.payload);
    }
    if (known || registrations_ == 0) return;
    orphan_bytes_ += frame.payload.size();
    orphans_.push_back(std::move(frame));
    while (orphans_.size() > k_orphans_max || orphan_bytes_ > limits_.event_bytes) {
        orphan_bytes_ -= orphans_.front().payload.size();
        orphans_.pop_front();
        ++lost_events_;
    }
}

void Core::deliver_event(const std::shared_ptr<EventHandler>& handler, ByteVector payload) {
    const std::size_t size = payload.size();
    if (event_count_ >= limits_.events || event_bytes_ + size > limits_.event_bytes) {
        ++lost_events_;
        return;
    }
    ++event_count_;
    event_bytes_ += size;
    push_delivery({.run = [handler, payload = std::move(payload)] { handler->run(payload); },
                   .handler = handler,
                   .bytes = size});
}

void Core::begin_registration() {
    const Lock lock(mutex_);
    ++registrations_;
}

void Core::end_registration() {
    const Lock lock(mutex_);
    if (--registrations_ > 0) return;
    orphans_.clear();
    orphan_bytes_ = 0;
}

void Core::add_handler(const std::shared_ptr<EventHandler>& handler) {
    const Lock lock(mutex_);
    add_handler_locked(handler);
}

void Core::add_handler_locked(const std::shared_ptr<EventHandler>& handler) {
    handler->link = link_;
    handlers_.push_back(handler);
    take_orphans(handler);
}

// Events that came before it was known whose they are.
void Core::take_orphans(const std::shared_ptr<EventHandler>& handler) {
    for (auto orphan = orphans_.begin(); orphan != orphans_.end();) {
        if (fits(*handler, orphan->header.program, orphan->header.procedure, orphan->payload)) {
            orphan_bytes_ -= orphan->payload.size();
            deliver_event(handler, std::move(orphan->payload));
            orphan = orphans_.erase(orphan);
        } else {
            ++orphan;
        }
    }
}

void Core::remove_handler(const std::shared_ptr<EventHandler>& handler) {
    Lock lock(mutex_);
    handler->cancelled = true;
    std::erase(handlers_, handler);
    if (delivering_ != std::this_thread::get_id()) ran_.wait(lock, [&] { return running_ != handler.get(); });
}

std::uint64_t Core::lost_events() {
    const Lock lock(mutex_);
    return lost_events_;
}

std::optional<Request> Core::deregistration(const EventHandler& handler) {
    const Lock lock(mutex_);
    if (handler.link != link_ || mending_) return std::nullopt;
    Request request = repeat(handler.deregister);
    request.link = link_;
    return request;
}

void Core::send_and_forget_locked(const Request& request) {
    Request copy = repeat(request);
    // If it cannot be sent now, the server keeps a registration until the connection ends: no more than that.
    if (const auto pending = enqueue(std::move(copy))) abandon(**pending);
}

void Core::send_and_forget(Request request) noexcept {
    Lock lock(mutex_);
    send_and_forget_locked(request);
    flush(lock);
    rearm();
}

}  // namespace virtgate::client
