// SPDX-License-Identifier: LGPL-2.1-or-later
// auditor - the channels of the broker and of the workers, and the order in which they are read.
//
// Every message of a worker is about a session of which the broker has told before, but over another channel, and nothing
// orders two channels. So:
//
// * Before a worker is read, all that the broker has sent is read. The broker sends ARRIVAL before it gives the session
//   to the worker, so that it is there by then, unless the broker's socket was full and it still waits to send. Then the
//   worker is not read on until the session is known, for k_patience at most.
// * At a DEPARTURE everything that waits in the channel of the session's worker is read first. That is enough: a worker
//   sends its records straight into the socket or drops them, then it says ENDED, and only then does the broker send
//   DEPARTURE. What the worker had to say of that session therefore waits here already. No more than what
//   waits at that moment is read, so that a worker that never stops sending cannot keep the broker from being read.
//
// A worker that breaks the rules loses its channel, and with it the right to be believed: what it said before stays.
//
// The lock daemon's process is one more speaker, over a connection of its own; nothing orders what it says of a session that
// is about to end, so that the last of it may come behind that end. When its connection ends, the broker hears of it.
//
// Twins: workerd/broker, workerd/worker and lockd/locker/witness send what comes here.
//
// Trust:  the broker is believed. A worker may be taken over.
// Limits: k_burst messages of a worker a turn.
// Owns:   the channels. Ledger and Outlets have to outlive it.
#pragma once

#include <map>
#include <memory>

#include "libshared/base/log.h"
#include "libshared/loop/loop.h"
#include "workerd/auditor/inlet.h"
#include "workerd/auditor/ledger.h"
#include "workerd/auditor/outlets.h"

namespace virtgate::workerd::auditor {

class Auditor {
public:
    static constexpr int k_burst = 64;
    // How long a session may stay unknown that a worker speaks of. A new auditor is told of all sessions at once, and of
    // tens of thousands that takes seconds.
    static constexpr Milliseconds k_patience{30'000};
    // Between two attempts with a journal or a file that failed.
    static constexpr Milliseconds k_retry{5'000};

    // Serves `broker`, the channel to the parent. `loop` is stopped when that closes.
    Auditor(loop::Loop& loop, UniqueFd broker, Ledger& ledger, Outlets& outlets, WallClock clock);
    ~Auditor();
    Auditor(const Auditor&) = delete;
    Auditor& operator=(const Auditor&) = delete;

    // Tells the broker that records are taken. Error: system's fault, if the channel is closed.
    Done report_ready();

    // Reads all that has been sent, writes all that is held, and stops the loop.
    void finish() noexcept;

    // Workers that lost their channel because of what they sent.
    [[nodiscard]] std::uint64_t accused() const noexcept { return accused_; }

private:
    struct Channel;

    void on_broker(loop::Want ready) noexcept;
    void on_worker(std::uint64_t worker) noexcept;
    void on_impatient(std::uint64_t worker) noexcept;
    void on_retry() noexcept;

    void drain_broker();
    void take_broker(const Inlet::Message& message, UniqueFd channel);
    void add_worker(proto::audit::WorkerArgs&& worker, UniqueFd channel);
    void add_locker(UniqueFd connection);
    void tell_locker_gone() noexcept;
    void tell_counts() noexcept;
    void depart(const proto::audit::DepartureArgs& departure);

    void read_worker(std::uint64_t worker, int messages);
    void read_waiting(std::uint64_t worker);
    [[nodiscard]] std::size_t read_one(Channel& channel);
    void take_worker(Channel& channel, const Inlet::Message& message);
    void take_early(std::uint64_t worker);
    void accuse(Channel& channel, std::string_view why);
    void end(std::uint64_t worker);
    void watch_outlets() noexcept;

    loop::Loop& loop_;
    Inlet broker_;
    Ledger& ledger_;
    Outlets& outlets_;
    const WallClock clock_;
    const Log log_;
    std::map<std::uint64_t, std::unique_ptr<Channel>> channels_;
    std::uint64_t accused_ = 0;
    bool is_orphan_ = false;  // the broker's channel is at its end
    bool is_finished_ = false;
    std::unique_ptr<loop::Watch> watch_;
    std::unique_ptr<loop::Timer> retry_;
};

}  // namespace virtgate::workerd::auditor
