// SPDX-License-Identifier: LGPL-2.1-or-later
// core - calls, and the threads that wait for them.
#include "libshared/client/core.h"

#include <fmt/format.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>

namespace virtgate::client {

namespace {

constexpr std::size_t k_buffer_size = 131072;
constexpr std::size_t k_payload_max = rpc::k_frame_max - rpc::k_frame_min;

}  // namespace

void Waiting::Wake::operator()() const noexcept {
    const std::lock_guard lock(core.mutex_);
    waiting.ready.notify_all();
    core.wake_reader();
}

Core::Core(std::unique_ptr<Channel> channel, const Options& options, UniqueFd wakeup)
    : limits_(options.limits),
      keepalive_(options.keepalive),
      service_(options.service),
      channel_(std::move(channel)),
      wakeup_(std::move(wakeup)),
      buffer_(k_buffer_size),
      cutter_(std::clamp(options.limits.frame_max, rpc::k_frame_min, rpc::k_frame_max)),
      pings_(options.keepalive.interval, options.keepalive.count) {}

Core::~Core() { stop_service(); }

Result<std::shared_ptr<Core>> Core::make(std::unique_ptr<Channel> channel, const Options& options) {
    UniqueFd wakeup{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!wakeup) return fail_system(errno, "cannot make an event descriptor");
    return std::shared_ptr<Core>(new Core(std::move(channel), options, std::move(wakeup)));
}

Done Core::check_room(const Request& request) const {
    if (mending_) return fail(Cause::closed, "there is no connection at the moment: " + closed_->text);
    if (closed_) return fail(*closed_);
    if (request.link && *request.link != link_) return fail(Cause::closed, "it was of a connection before");
    if (mute_) return fail(Cause::closed, "the server does not read any more");
    if (request.payload.size() > k_payload_max) return fail(Cause::invalid, "the arguments are too long");
    if (pending_.size() >= limits_.calls) return fail(Cause::busy, "too many calls wait for an answer");
    if (request.opens_stream && streams_.size() >= limits_.streams)
        return fail(Cause::busy, "too many streams are open");
    if (!request.fds.empty() && !channel_->passes_descriptors())
        return fail(Cause::unsupported, "descriptors can be passed over a UNIX socket only");
    return {};
}

Result<std::shared_ptr<Core::Pending>> Core::enqueue(Request&& request) {
    if (auto done = check_room(request); !done) return tl::unexpected(done.error());
    while (pending_.contains(next_serial_) || streams_.contains(next_serial_)) ++next_serial_;
    auto pending = std::make_shared<Pending>();
    pending->header = {.program = request.program,
                       .version = request.version,
                       .procedure = request.procedure,
                       .type = request.fds.empty() ? rpc::Type::call : rpc::Type::call_with_fds,
                       .serial = next_serial_++};
    if (request.opens_stream) {
        pending->stream = std::make_shared<StreamState>();
        pending->stream->header = pending->header;
        pending->stream->header.type = rpc::Type::stream;
        pending->stream->sparse = request.sparse;
        pending->stream->taken = system_clock().now();
        streams_.emplace(pending->header.serial, pending->stream);
    }
    pending->on_reply = std::move(request.on_reply);
    if (!request.fds.empty()) {
        ByteVector with_count(4);
        store_be32(with_count.data(), static_cast<std::uint32_t>(request.fds.size()));
        with_count.insert(with_count.end(), request.payload.begin(), request.payload.end());
        request.payload = std::move(with_count);
    }
    Outgoing frame{.bytes = rpc::make_frame(pending->header, request.payload),
                   .fds = std::move(request.fds),
                   .stream = {}};
    control_bytes_ += frame.bytes.size();
    control_.push_back(std::move(frame));
    pending_.emplace(pending->header.serial, pending);
    ++live_calls_;
    return pending;
}

Result<Reply> Core::call(Request request, const Deadline& deadline) {
    Waiting me(*this, deadline);
    Lock lock(mutex_);
    if (auto done = await_turn(lock, me, request, deadline); !done) return tl::unexpected(done.error());
    auto started = enqueue(std::move(request));
    if (!started) return tl::unexpected(started.error());
    Pending& pending = **started;
    pending.waiting = &me;
    flush(lock);
    const auto done = await(lock, me, deadline, [&pending] { return pending.done; });
    pending.waiting = nullptr;
    if (!done) {
        abandon(pending);
        return tl::unexpected(done.error());
    }
    return std::move(pending.result);
}

// Waits for a connection, if calls do that, and until somebody else's bytes have gone, if they are too many.
Done Core::await_turn(Lock& lock, Waiting& me, const Request& request, const Deadline& deadline) {
    const auto waits = [&] { return mending_ && reconnect_->calls_wait && !request.link; };
    while (waits() || control_bytes_ > limits_.send_queue) {
        Done done;
        if (waits()) {
            done = await(
                lock, me, deadline, [this] { return !mending_; }, Temper::patient);
            if (done) continue;
        } else {
            flush(lock);
            done = await(lock, me, deadline, [this] { return control_bytes_ <= limits_.send_queue; });
            if (done || waits()) continue;
        }
        return done;
    }
    return {};
}

Result<std::uint32_t> Core::start_call(Request request, Instant until, Completion completion) {
    Lock lock(mutex_);
    if (control_bytes_ > limits_.send_queue) return fail(Cause::busy, "too many bytes wait to be sent");
    auto started = enqueue(std::move(request));
    if (!started) return tl::unexpected(started.error());
    (*started)->completion = std::move(completion);
    (*started)->until = until;
    if (until < next_until_) {
        next_until_ = until;
        wake_reader();
    }
    flush(lock);
    rearm();
    return (*started)->header.serial;
}

void Core::cancel_call(std::uint32_t serial) {
    Lock lock(mutex_);
    const auto found = pending_.find(serial);
    if (found == pending_.end() || found->second->abandoned || !found->second->completion) return;
    const auto pending = found->second;
    push_delivery({.run = [completion = std::move(pending->completion)] {
        completion(fail(Cause::cancelled, "given up by the caller"));
    }});
    abandon(*pending);
    rearm();
}

// Serves the connection in this thread, or sleeps while another one does, until done() holds.
Done Core::await(Lock& lock, Waiting& me, const Deadline& deadline, const Predicate& done, Temper temper) {
    Done outcome;
    waiters_.push_back(&me);
    while (!done()) {
        if (closed_ && !(mending_ && temper == Temper::patient)) {
            outcome = fail(*closed_);
            break;
        }
        if (deadline.stop.stop_requested()) {
            outcome = fail(Cause::cancelled, "given up by the caller");
            break;
        }
        if (deadline.at != Instant::max() && deadline.passed(system_clock().now())) {
            outcome = fail(Cause::timeout, "no answer in time");
            break;
        }
        if (!reading_ && !closed_)
            serve_once(lock, deadline.at);
        else if (deadline.at == Instant::max())
            me.ready.wait(lock);
        else
            me.ready.wait_until(lock, deadline.at);
    }
    waiters_.remove(&me);
    pass_on();
    release_channel(lock);
    return outcome;
}

// If the role of the reader is free: to one who waits, else to the service. Who is woken and has nothing to
// wait for any more passes it on in turn.
void Core::pass_on() {
    if (reading_) return;
    if (!waiters_.empty())
        waiters_.front()->ready.notify_one();
    else if (service_ == Service::thread)
        last_caller_ = system_clock().now();  // the thread looks again soon (core_service.cc)
    else
        rearm();
}

// Nobody waits for it any more; it stays known, so that its answer is recognised and dropped.
void Core::abandon(Pending& pending) {
    if (pending.done || pending.abandoned) return;
    pending.abandoned = true;
    --live_calls_;
    if (!pending.stream || pending.stream->state != StreamState::State::open) return;
    pending.stream->in.clear();
    abort_stream(pending.stream);
}

void Core::complete(const std::shared_ptr<Pending>& pending, Result<Reply> result) {
    if (pending->done) return;
    if (!pending->abandoned) --live_calls_;
    pending->done = true;
    if (pending->abandoned) return;
    if (pending->completion) {
        push_delivery({.run = [completion = std::move(pending->completion),
                               shared = std::make_shared<Result<Reply>>(std::move(result))] {
            completion(std::move(*shared));
        }});
        return;
    }
    pending->result = std::move(result);
    if (pending->waiting != nullptr) pending->waiting->ready.notify_one();
}

void Core::shut(CloseReason reason, Failure failure) {
    if (closed_ && !(mending_ && reason == CloseReason::client)) return;
    close_reason_ = reason;
    mending_ = reason != CloseReason::client && begin_mending();
    Change change{.kind = Change::Kind::lost, .failure = failure};
    // Whatever it was, what was under way may have been done or not.
    if (mending_) failure.cause = Cause::closed;
    closed_ = failure;
    for (const auto& [serial, pending] : std::exchange(pending_, {})) complete(pending, fail(failure));
    for (const auto& [serial, stream] : std::exchange(streams_, {})) fail_stream(*stream, failure);
    drop_output();
    orphans_.clear();
    orphan_bytes_ = 0;
    if (mending_)
        tell(std::move(change));
    else
        tell_close();
    for (Waiting* waiting : waiters_) waiting->ready.notify_all();
    wake_reader();
    service_ready_.notify_all();
    mend_ready_.notify_all();
    rearm();
}

// Once, and only when it stays so.
void Core::tell_close() {
    if (close_handler_)
        push_delivery({.run = [handler = std::exchange(close_handler_, nullptr), reason = close_reason_,
                               failure = *closed_] { handler(reason, failure); }});
}

// The channel ends when its last user has left it; outside of the lock, since a child's end may take a while.
void Core::release_channel(Lock& lock) {
    if (!closed_ || reading_ || writing_ || !channel_) return;
    std::unique_ptr<Channel> last = std::move(channel_);
    lock.unlock();
    last.reset();
    lock.lock();
}

void Core::close(CloseReason reason, Failure failure) {
    Lock lock(mutex_);
    shut(reason, std::move(failure));
    release_channel(lock);
    lock.unlock();
    // Not below the lock: a Dial may have callbacks of its own.
    if (reason == CloseReason::client) mend_stop_.request_stop();
}

std::optional<Failure> Core::closed() {
    const Lock lock(mutex_);
    return mending_ ? std::nullopt : closed_;
}

std::optional<Request> Core::bind(Request request) {
    const Lock lock(mutex_);
    if (closed_) return std::nullopt;
    request.link = link_;
    return request;
}

bool Core::is_connected() {
    const Lock lock(mutex_);
    return !closed_;
}

void Core::on_close(std::function<void(CloseReason, const Failure&)> handler) {
    const Lock lock(mutex_);
    close_handler_ = std::move(handler);
    if (closed_ && !mending_) tell_close();
}

Done Core::change_channel(
    const std::function<Result<std::unique_ptr<Channel>>(std::unique_ptr<Channel>)>& change) {
    const Lock lock(mutex_);
    if (closed_) return fail(*closed_);
    // Bytes that came before the server could know of the change would be read in the wrong form.
    if (cutter_.in_frame() || channel_->has_buffered())
        return fail(Cause::protocol, "the server went on before the login was complete");
    auto changed = change(std::move(channel_));
    if (!changed) {
        shut(CloseReason::error, changed.error());
        return tl::unexpected(changed.error());
    }
    channel_ = std::move(*changed);
    return {};
}

}  // namespace virtgate::client
