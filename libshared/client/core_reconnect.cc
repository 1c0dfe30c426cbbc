// SPDX-License-Identifier: LGPL-2.1-or-later
// core_reconnect - another channel in the place of one that was lost.
//
// A core of its own, used by one thread only, connects, logs in and registers for events. When it has come
// that far, what it has on the wire is moved into this one, below both locks: no caller ever sees a
// connection that is half made, and an event that came behind a registration finds its handler.
#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <random>

#include "libshared/client/core.h"

namespace virtgate::client {

namespace {

// The pause before the next try, when so many have failed: doubled each time, less up to a half by chance.
Milliseconds pause_after(const Reconnect& plan, unsigned failed) {
    if (failed == 0) return Milliseconds{0};
    constexpr unsigned k_doublings_max = 20;
    const auto first = std::max<Milliseconds::rep>(0, plan.first_pause.count());
    const auto longest = std::max(first, plan.longest_pause.count());
    const auto whole = std::min(longest, first << std::min(failed - 1, k_doublings_max));
    std::random_device chance;
    return Milliseconds{std::uniform_int_distribution<Milliseconds::rep>(whole / 2, whole)(chance)};
}

// Nobody gets in by asking again. A server that hung up in the handshake may have been about to end.
bool is_final(const Failure& why) noexcept {
    return why.cause == Cause::denied || (why.cause == Cause::untrusted && why.number != ECONNRESET) ||
           why.cause == Cause::invalid || why.cause == Cause::unsupported || why.cause == Cause::cancelled;
}

}  // namespace

void Core::set_reconnect(Reconnect plan, Establish establish) {
    const Lock lock(mutex_);
    reconnect_ = std::move(plan);
    establish_ = std::move(establish);
    linked_at_ = system_clock().now();
}

// True if there will be another link, or it will be said that there is none.
bool Core::begin_mending() {
    if (!reconnect_ || stopping_ || mend_stop_.stop_requested()) return false;
    if (!mender_.joinable()) {
        try {
            mender_ = std::thread([this] { run_mender(); });
        } catch (const std::system_error&) {
            return false;
        }
    }
    if (system_clock().now() - linked_at_ > reconnect_->longest_pause) streak_ = 0;
    mend_ready_.notify_all();
    return true;
}

void Core::run_mender() {
    // The connection may be given up in a callback of it.
    const std::shared_ptr<Core> alive = weak_from_this().lock();
    const std::stop_callback on_stop(reconnect_->stop,
                                     [stop = mend_stop_]() mutable { stop.request_stop(); });
    Lock lock(mutex_);
    while (!stopping_) {
        if (mending_)
            mend(lock);
        else
            mend_ready_.wait(lock);
    }
}

// Waits until `until`. False if it is not to be tried any more.
bool Core::await_try(Lock& lock, Instant until) {
    const auto over = [this] { return stopping_ || !mending_; };
    mend_ready_.wait_until(lock, mend_stop_.get_token(), until, over);
    return !over() && !mend_stop_.stop_requested();
}

// Tries until there is a link again, or none is to be had.
void Core::mend(Lock& lock) {
    const Reconnect& plan = *reconnect_;
    const Instant limit = plan.within.count() > 0 ? system_clock().now() + plan.within : Instant::max();
    Failure why{.cause = Cause::timeout, .text = "there is no time to try"};
    for (unsigned tries = 0;;) {
        const Instant next = system_clock().now() + pause_after(plan, streak_);
        if ((plan.tries != 0 && tries == plan.tries) || next >= limit) return give_up(why, tries);
        if (!await_try(lock, next)) {
            if (mending_ && !stopping_)
                give_up({.cause = Cause::cancelled, .text = "given up by the caller"}, tries);
            return;
        }
        ++streak_;
        const auto done = try_again(lock, std::min(limit, system_clock().now() + plan.per_try), ++tries);
        // The new link may be lost by now: that is another story.
        if (done || !mending_) return;
        why = done.error();
        if (is_final(why)) return give_up(why, tries);
    }
}

// One try. What takes time is done, and undone, outside of the lock.
Done Core::try_again(Lock& lock, Instant until, unsigned tries) {
    const Deadline deadline{.at = until, .stop = mend_stop_.get_token()};
    lock.unlock();
    auto fresh = establish_(deadline);
    // Those that are wanted now: connecting may have taken long.
    std::vector<Renewal> renewals;
    lock.lock();
    for (const auto& handler : handlers_) renewals.push_back({.handler = handler});
    lock.unlock();
    Done done;
    if (fresh)
        done = (*fresh)->renew(renewals, deadline);
    else
        done = tl::unexpected(fresh.error());
    lock.lock();
    if (done) {
        // Who still has a role on the old channel leaves it now; while there is no link, nobody takes one.
        mend_ready_.wait(lock, [this] { return stopping_ || !mending_ || (!reading_ && !writing_); });
        if (stopping_ || !mending_)
            done = fail(Cause::closed, "the connection was closed here");
        else
            done = adopt(**fresh, renewals, tries);
        flush(lock);
    }
    lock.unlock();
    if (fresh) fresh->reset();
    renewals.clear();  // what a handler owns may take the lock
    lock.lock();
    return done;
}

// Of a fresh core: makes registrations. What comes of them before adopt() waits with the other orphans.
Done Core::renew(std::vector<Renewal>& renewals, const Deadline& deadline) {
    begin_registration();
    for (Renewal& one : renewals) {
        auto reply = call(repeat(one.handler->enrol), deadline);
        if (reply)
            one.name = std::move(reply->payload);
        else if (reply.error().cause != Cause::remote)
            return tl::unexpected(reply.error());
    }
    return {};
}

// Makes the wire of `fresh` the one of this core. No role is taken, and nobody else uses `fresh`.
Done Core::adopt(Core& fresh, const std::vector<Renewal>& renewals, unsigned tries) {
    const Lock theirs(fresh.mutex_);
    if (fresh.closed_) return fail(*fresh.closed_);
    if (poll_) {
        epoll_event event{};
        event.data.fd = fresh.channel_->fd();
        if (epoll_ctl(poll_.get(), EPOLL_CTL_ADD, fresh.channel_->fd(), &event) < 0)
            return fail_system(errno, "cannot have the loop wait for another connection");
        armed_ = 0;
    }
    channel_ = std::move(fresh.channel_);
    blocked_ = fresh.blocked_;
    mute_ = fresh.mute_;
    control_ = std::move(fresh.control_);
    control_bytes_ = fresh.control_bytes_;
    out_ = std::move(fresh.out_);
    out_at_ = fresh.out_at_;
    out_fds_.clear();
    out_fds_at_ = 0;
    pong_queued_ = fresh.pong_queued_;
    cutter_ = std::move(fresh.cutter_);
    in_fds_ = std::move(fresh.in_fds_);
    owing_ = std::move(fresh.owing_);
    owed_ = fresh.owed_;
    orphans_ = std::move(fresh.orphans_);
    orphan_bytes_ = fresh.orphan_bytes_;
    lost_events_ += fresh.lost_events_;
    pings_ = fresh.pings_;

    ++link_;
    linked_at_ = system_clock().now();
    closed_.reset();
    mending_ = false;
    const auto refused = static_cast<unsigned>(
        std::count_if(renewals.begin(), renewals.end(), [](const Renewal& one) { return !one.name; }));
    tell({.kind = Change::Kind::reconnected, .failure = {}, .tries = tries, .refused = refused});
    for (const Renewal& one : renewals) {
        if (!one.name) continue;
        one.handler->name(*one.name);
        one.handler->link = link_;
        if (!one.handler->cancelled)
            take_orphans(one.handler);
        else
            send_and_forget_locked(one.handler->deregister);
    }
    if (registrations_ == 0) {
        orphans_.clear();
        orphan_bytes_ = 0;
    }
    for (Waiting* waiting : waiters_) waiting->ready.notify_all();
    service_ready_.notify_all();
    rearm();
    return {};
}

void Core::give_up(const Failure& why, unsigned tries) {
    mending_ = false;
    closed_->text = fmt::format("{}; connecting again: {}", closed_->text, why.text);
    tell({.kind = Change::Kind::given_up, .failure = why, .tries = tries});
    tell_close();
    for (Waiting* waiting : waiters_) waiting->ready.notify_all();
    service_ready_.notify_all();
}

void Core::tell(Change change) {
    if (reconnect_->on_change)
        push_delivery({.run = [this, change = std::move(change)] { reconnect_->on_change(change); }});
}

// The mender waits until nobody has a role any more.
void Core::leave_role() {
    if (mending_) mend_ready_.notify_all();
}

}  // namespace virtgate::client
