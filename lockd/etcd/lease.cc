// SPDX-License-Identifier: LGPL-2.1-or-later
// lease - the one lease by which everything is held, and how long it is ours for certain.
#include "lockd/etcd/lease.h"

#include <algorithm>

#include "libshared/base/log.h"

namespace virtgate::lockd::etcd {

namespace {

// The loop's timers stand still while the machine sleeps: so often, at least, the clock is looked at.
constexpr Milliseconds k_lease_look{500};
constexpr Milliseconds k_lease_retry{250};
// In the third of the time between the first try and being late, so many have room.
constexpr std::int64_t k_tries = 4;
constexpr Milliseconds k_request_min{200};

Milliseconds third_of(std::int64_t ttl) noexcept { return Milliseconds{ttl * 1000 / 3}; }

}  // namespace

Lease::Lease(loop::Loop& loop, const Clock& clock, Cluster& cluster, std::uint32_t ttl, LeaseUser& user)
    : clock_(clock),
      cluster_(cluster),
      ttl_(ttl),
      user_(user),
      timer_(loop.timer(loop::to<&Lease::on_time>(*this))) {}

Lease::~Lease() { cluster_.forget(*this); }

void Lease::start(LeaseId id) {
    if (state_ != State::connecting && id == id_) return user_.on_found();
    id_ = id;
    state_ = State::connecting;
    renew_at_ = clock_.now();
    ticket_.reset();  // an answer about another lease is not waited for
    on_time();
}

void Lease::on_missing() noexcept {
    if (state_ != State::connecting) end();
}

void Lease::on_time() noexcept {
    const Instant now = clock_.now();
    if (state_ == State::alive && now >= late_at_) {
        state_ = State::late;
        user_.on_late(reason_.empty() ? "etcd does not answer" : reason_);
    }
    if (!ticket_ && now >= renew_at_) ask();
    const Instant next =
        ticket_ ? late_at_ : std::min(renew_at_, state_ == State::alive ? late_at_ : renew_at_);
    const auto until = std::chrono::ceil<Milliseconds>(next - now);
    timer_->start(until > Milliseconds{0} ? std::min(until, k_lease_look) : k_lease_look);
}

void Lease::ask() noexcept {
    asked_at_ = clock_.now();
    const Milliseconds patience = std::max(third_of(ttl_) / k_tries, k_request_min);
    // A lease that was granted without our hearing of it ends by itself.
    Cluster::Question question =
        id_ == 0 ? Cluster::Question{.path = "/v3/lease/grant", .body = write_grant(ttl_)}
                 : Cluster::Question{.path = "/v3/lease/keepalive", .body = write_keep_alive(id_)};
    question.timeout = patience;
    ticket_ = cluster_.ask(std::move(question), *this);
}

void Lease::on_answer(Ticket ticket, Answer answer) noexcept {
    if (ticket_ != ticket) return;
    ticket_.reset();
    // At once: each try takes a part of what is left.
    renew_at_ = clock_.now() + k_lease_retry;
    if (answer.outcome == Outcome::answered) return take(answer.reply);
    if (answer.outcome == Outcome::refused && answer.refusal.code == k_not_found && id_ != 0) return end();
    if (reason_ != answer.reason) Log{}.info("the lease is not renewed: {}", answer.reason);
    reason_ = std::move(answer.reason);
    timer_->start(k_lease_retry);
}

void Lease::take(const Reply& reply) noexcept {
    if (reply.ttl <= 0 || reply.lease == 0) return end();
    const bool is_new = id_ == 0;
    const State before = state_;
    id_ = reply.lease;
    state_ = State::alive;
    reason_.clear();
    renew_at_ = asked_at_ + third_of(reply.ttl);
    late_at_ = asked_at_ + 2 * third_of(reply.ttl);
    if (before == State::connecting) {
        Log{}.info("{} the lease {:x} of {} s, at {}", is_new ? "got" : "goes on with", id_, reply.ttl,
                   cluster_.server());
        return user_.on_found();
    }
    if (before == State::late) Log{}.info("the lease {:x} was renewed, late", id_);
    user_.on_renewed();
}

void Lease::end() noexcept {
    if (id_ != 0) Log{}.warning("the lease {:x} has ended", id_);
    const bool was = id_ != 0;
    state_ = State::connecting;
    id_ = 0;
    reason_ = "the lease has ended, and there is no new one yet";
    renew_at_ = clock_.now();
    timer_->start(Milliseconds{0});
    if (was) user_.on_gone();
}

}  // namespace virtgate::lockd::etcd
