// SPDX-License-Identifier: LGPL-2.1-or-later
// core_service - what happens while nobody waits for an answer: callbacks, pings, deadlines of started calls.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "libshared/client/core.h"

namespace virtgate::client {

namespace {

// After a call the thread leaves the role of the reader free for so long: who calls often reads for itself,
// which saves waking another thread for each answer.
constexpr Milliseconds k_linger{5};
// Of one dispatch(): a busy server must not keep the program's loop for ever.
constexpr int k_reads_per_turn = 16;
constexpr unsigned k_callbacks_per_turn = 256;

void drain(int fd) noexcept {
    std::uint64_t count = 0;
    static_cast<void>(!read(fd, &count, sizeof count));
}

bool add_to(int epoll, int fd, std::uint32_t events) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

Done Core::start_service() {
    const Lock lock(mutex_);
    if (closed_) return fail(*closed_);
    if (service_ == Service::thread) {
        try {
            thread_ = std::thread([this] { run_thread(); });
        } catch (const std::system_error& error) {
            return fail_system(error.code().value(), "cannot start a thread");
        }
    }
    if (service_ == Service::loop) {
        poll_ = UniqueFd{epoll_create1(EPOLL_CLOEXEC)};
        bell_ = UniqueFd{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
        timer_ = UniqueFd{timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
        if (!poll_ || !bell_ || !timer_ || !add_to(poll_.get(), bell_.get(), EPOLLIN) ||
            !add_to(poll_.get(), timer_.get(), EPOLLIN) || !add_to(poll_.get(), channel_->fd(), 0))
            return fail_system(errno, "cannot make a descriptor for an event loop");
        rearm();
        if (!deliveries_.empty()) push_delivery({});
    }
    return {};
}

void Core::stop_service() {
    {
        const Lock lock(mutex_);
        stopping_ = true;
        wake_reader();
        service_ready_.notify_all();
        mend_ready_.notify_all();
    }
    mend_stop_.request_stop();
    for (std::thread* thread : {&thread_, &mender_}) {
        if (!thread->joinable()) continue;
        if (thread->get_id() == std::this_thread::get_id())
            thread->detach();  // the connection is given up in one of its own callbacks
        else
            thread->join();
    }
}

void Core::run_thread() {
    // It may be given up from one of its own callbacks.
    const std::shared_ptr<Core> alive = weak_from_this().lock();
    Lock lock(mutex_);
    while (!stopping_) {
        deliver(lock);
        if (stopping_) break;
        const Instant now = system_clock().now();
        const Instant free_at = last_caller_ + k_linger;
        const bool may_rest = !may_deliver();
        if (closed_ && may_rest)
            service_ready_.wait(lock);
        else if (may_rest && (reading_ || !waiters_.empty() || now < free_at))
            service_ready_.wait_until(lock, std::max(free_at, now + k_linger));
        else if (may_rest)
            serve_once(lock, Instant::max());
        if (!reading_ && !waiters_.empty()) waiters_.front()->ready.notify_one();
        release_channel(lock);
    }
}

void Core::push_delivery(Delivery delivery) {
    if (delivery.run) deliveries_.push_back(std::move(delivery));
    if (service_ == Service::thread) {
        service_ready_.notify_one();
        wake_reader();  // which the thread may be
    }
    if (bell_) {
        const std::uint64_t one = 1;
        static_cast<void>(!write(bell_.get(), &one, sizeof one));
    }
}

// Whether there is a callback, and nobody runs one in another thread. Who is in one gets an answer at once.
bool Core::may_deliver() const {
    return !deliveries_.empty() && (!delivering_ || delivering_ == std::this_thread::get_id());
}

// Runs callbacks, one after the other, unless another thread (or this one, further up) is at it.
void Core::deliver(Lock& lock) {
    if (delivering_) return;
    delivering_ = std::this_thread::get_id();
    for (unsigned n = 0; n < k_callbacks_per_turn && !deliveries_.empty(); ++n) {
        Delivery delivery = std::move(deliveries_.front());
        deliveries_.pop_front();
        if (delivery.handler) {
            --event_count_;
            event_bytes_ -= delivery.bytes;
            if (delivery.handler->cancelled) continue;
            running_ = delivery.handler.get();
        }
        lock.unlock();
        delivery.run();
        delivery = {};  // what it owns may take the lock
        lock.lock();
        running_ = nullptr;
        ran_.notify_all();
    }
    delivering_.reset();
    if (deliveries_.empty()) return;
    // Whoever did not run them because of us.
    push_delivery({});
    for (Waiting* waiting : waiters_) waiting->ready.notify_all();
}

void Core::dispatch() {
    drain(bell_.get());
    drain(timer_.get());
    Lock lock(mutex_);
    armed_until_ = Instant::max();
    for (int n = 0; n < k_reads_per_turn && !reading_ && !closed_; ++n) {
        const std::size_t before = deliveries_.size();
        serve_once(lock, Instant::min());
        // More is likely there if something came; the loop's descriptor says so otherwise.
        if (deliveries_.size() == before && !channel_->has_buffered()) break;
    }
    deliver(lock);
    pass_on();
    rearm();
    release_channel(lock);
}

Done Core::serve(const Deadline& deadline) {
    Waiting me(*this, deadline);
    Lock lock(mutex_);
    const auto done = await(
        lock, me, deadline, [this] { return may_deliver(); }, Temper::patient);
    deliver(lock);
    return done;
}

void Core::start_keepalive() {
    const Lock lock(mutex_);
    pings_.start(system_clock().now());
    wake_reader();
    rearm();
}

// A server that pings faster than it reads gets one answer for all of them.
void Core::queue_keepalive(rpc::Keepalive procedure) {
    if (procedure == rpc::Keepalive::pong && pong_queued_) return;
    pong_queued_ = pong_queued_ || procedure == rpc::Keepalive::pong;
    const auto frame = rpc::make_keepalive(procedure);
    control_bytes_ += frame.size();
    control_.push_back({.bytes = ByteVector(frame.begin(), frame.end()), .fds = {}, .stream = {}});
}

void Core::run_timers(Instant now) {
    if (closed_) return;
    if (is_paused()) {
        // Pings that cannot be read cannot be answered, so we say unasked that we are alive.
        pings_.on_input(now);
        if (pings_.started() && now >= next_pong_) {
            next_pong_ = now + keepalive_.interval;
            queue_keepalive(rpc::Keepalive::pong);
        }
        for (const auto& [serial, stream] : streams_) {
            if (!calls_wait() || !is_full(*stream)) continue;
            if (now < stream->taken + limits_.stream_patience) continue;
            fail_stream(*stream, {.cause = Cause::busy,
                                  .text = "nobody read from the stream, and calls waited behind it"});
            abort_stream(stream);
        }
    } else if (pings_.started()) {
        switch (pings_.on_time(now)) {
            case rpc::PingSchedule::Step::wait: break;
            case rpc::PingSchedule::Step::ping: queue_keepalive(rpc::Keepalive::ping); break;
            case rpc::PingSchedule::Step::dead:
                return shut(CloseReason::keepalive,
                            {.cause = Cause::closed, .text = "the server does not answer pings"});
        }
    }
    if (now < next_until_) return;
    next_until_ = Instant::max();
    for (const auto& [serial, pending] : pending_) {
        if (pending->abandoned || !pending->completion) continue;
        if (now < pending->until) {
            next_until_ = std::min(next_until_, pending->until);
            continue;
        }
        push_delivery({.run = [completion = std::move(pending->completion)] {
            completion(fail(Cause::timeout, "no answer in time"));
        }});
        abandon(*pending);
    }
}

Instant Core::next_timer() const {
    Instant next = next_until_;
    if (closed_) return next;
    const Instant now = system_clock().now();
    if (is_paused()) {
        if (pings_.started()) next = std::min(next, next_pong_);
        if (calls_wait())
            for (const auto& [serial, stream] : streams_)
                if (is_full(*stream)) next = std::min(next, stream->taken + limits_.stream_patience);
    } else if (pings_.started()) {
        next = std::min(next, now + pings_.next(now));
    }
    return next;
}

// What the program's loop waits for: the socket only while no thread of the program reads from it.
void Core::rearm() {
    if (!poll_ || !channel_) return;
    const bool free = !reading_ && waiters_.empty() && !closed_;
    const unsigned wanted =
        (free && !is_paused() ? unsigned{EPOLLIN} : 0U) | (free && blocked_ ? unsigned{EPOLLOUT} : 0U);
    if (wanted != armed_) {
        armed_ = wanted;
        epoll_event event{};
        // Even without any of them a hang-up would be reported: nothing at all is the only way to silence.
        event.events = wanted == 0 ? unsigned{EPOLLONESHOT} | unsigned{EPOLLET} : wanted;
        event.data.fd = channel_->fd();
        epoll_ctl(poll_.get(), EPOLL_CTL_MOD, channel_->fd(), &event);
    }
    if (free && channel_->has_buffered() && !is_paused()) push_delivery({});
    const Instant next = free ? next_timer() : Instant::max();
    if (next == armed_until_) return;
    armed_until_ = next;
    itimerspec when{};
    if (next != Instant::max()) {
        const auto ns = std::max<std::int64_t>(1, std::chrono::nanoseconds(next.time_since_epoch()).count());
        when.it_value = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    }
    timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

}  // namespace virtgate::client
