// SPDX-License-Identifier: LGPL-2.1-or-later
// lease - the one lease by which everything is held, and how long it is ours for certain.
//
//     connecting ──granted, or found alive──▶ alive ◀──renewed── late ──etcd says that it ended──▶ connecting
//                                               └──── 2/3 ────────▲
//
// etcd ends a lease when it has had no sign of life for its time to live. When it last got one it alone
// knows; that cannot have been before the sign was sent. So our time begins there. Holders are told when two
// thirds are over (late): the last one is for ending those who write. A late lease is renewed all the same:
// as long as it lives, nobody else gets what is let go late.
//
// Trust:  etcd's clock runs as fast as ours; that is all that is asked of clocks.
// Owns:   the question that is under way.
// Source: etcd 3.4: LeaseGrant, LeaseKeepAlive. After an election etcd's leases begin anew, which is later,
//         not earlier.
#pragma once

#include "lockd/etcd/cluster.h"

namespace virtgate::lockd::etcd {

class LeaseUser {
public:
    virtual ~LeaseUser() = default;
    // There is one: a new one, or that of an earlier process.
    virtual void on_found() noexcept = 0;
    // It goes on for some time more.
    virtual void on_renewed() noexcept = 0;
    // It may end soon: what is held has to be given up now.
    virtual void on_late(const std::string& reason) noexcept = 0;
    // It has ended, and nothing is held by it any more. Another one is asked for.
    virtual void on_gone() noexcept = 0;
};

class Lease : private ClusterUser {
public:
    enum class State : unsigned char { connecting, alive, late };

    // `clock`: libshared/base/boot_clock.h. `ttl`: in seconds.
    Lease(loop::Loop& loop, const Clock& clock, Cluster& cluster, std::uint32_t ttl, LeaseUser& user);
    ~Lease() override;
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    // Goes on with the lease `id`, if it lives, or with a new one; 0: with a new one. Again when another
    // locker came.
    void start(LeaseId id);
    // What is asked of etcd says that it is not there.
    void on_missing() noexcept;

    [[nodiscard]] State state() const noexcept { return state_; }
    [[nodiscard]] LeaseId id() const noexcept { return id_; }
    // When it becomes late; of the clock given.
    [[nodiscard]] Instant late_at() const noexcept { return late_at_; }
    // True if what is put now, or was put before, is held for certain: the state as it is at this moment, and
    // not when the loop last had the time to look.
    [[nodiscard]] bool is_good() const noexcept { return state_ == State::alive && clock_.now() < late_at_; }
    // Why it is not alive, for people.
    [[nodiscard]] const std::string& reason() const noexcept { return reason_; }

private:
    void on_time() noexcept;
    void ask() noexcept;
    void on_answer(Ticket ticket, Answer answer) noexcept override;
    void take(const Reply& reply) noexcept;
    void end() noexcept;

    const Clock& clock_;
    Cluster& cluster_;
    const std::uint32_t ttl_;
    LeaseUser& user_;
    std::unique_ptr<loop::Timer> timer_;
    State state_ = State::connecting;
    LeaseId id_ = 0;
    Instant asked_at_{}, renew_at_{}, late_at_{};
    std::optional<Ticket> ticket_;  // of the question under way
    std::string reason_ = "etcd was not reached yet";
};

}  // namespace virtgate::lockd::etcd
