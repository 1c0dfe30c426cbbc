// SPDX-License-Identifier: LGPL-2.1-or-later
// ledger - who the sessions are for, and the allowed calls whose end is still to come.
//
// A refused call is written at once. One that was allowed is held until its OUTCOME, and written then; the end of its
// session or worker writes it too. So every decision that came here leaves one record, whatever happens to its worker.
//
// Pure: messages in, records out to the Writer.
//
// Trust:  what the broker says is believed. A worker may be taken over: it can lie about the calls of its own sessions,
//         but not say whose they are, and what it says of others' is refused. So may the locker, of whose sessions it is said
//         by the broker, too: those that have a way to it.
// Limits: a worker's held calls take at most k_held_bytes_max; when there are more, the oldest is written with the result
//         "unknown", so that one worker cannot make room in another one's. Of at most k_clients_max sessions the client
//         is remembered; records of others have its identity and the number of the session, whose "session" record
//         says the rest. How many sessions and workers there are is bounded by the broker.
// Owns:   all that it has been told. The Writer has to outlive it.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <string>
#include <unordered_map>

#include "libshared/base/result.h"
#include "workerd/auditor/outlets.h"
#include "workerd/auditor/record.h"

namespace virtgate::workerd::auditor {

class Ledger {
public:
    // Some ten thousand usual calls: more than a worker's clients have open together unless libvirt stands still.
    static constexpr std::size_t k_held_bytes_max = 4U << 20;
    // A client takes about 1 KiB, and never more than 20.
    static constexpr std::size_t k_clients_max = 16'384;
    // Sessions that have ended, of which a worker may still speak.
    static constexpr std::size_t k_departed_max = 4'096;

    Ledger(Writer& writer, WallClock clock) : writer_(writer), clock_(clock) {}

    // The lock daemon's process, in the place of a worker's number: it speaks of calls about locks, of all sessions that have a
    // way to it.
    static constexpr std::uint64_t k_locker = UINT64_MAX;

    // From the broker. A worker that is there already begins anew: its held calls are lost.
    void add_worker(std::uint64_t worker, std::string identity);
    // ARRIVAL: writes the record, and knows the session from now on if there is one.
    void open_session(const proto::audit::ArrivalArgs& arrival);
    // DEPARTURE of one session: its held calls are lost. One that is not known is passed over.
    void close_session(std::uint64_t session);
    void note_policy(const proto::audit::PolicyArgs& policy);

    // What became of a worker's message.
    enum class Taken : std::uint8_t {
        yes,
        too_early,  // the session is not known: the broker's ARRIVAL may be on its way. Nothing was done
    };
    // DECISION and OUTCOME of `worker`. A call that is held can still be refused, when its reply would give away
    // something: such a DECISION takes the place of the first. An OUTCOME whose call is not held is passed over.
    // Error: peer's fault, a lie: nothing of the message was used.
    [[nodiscard]] Result<Taken> decide(std::uint64_t worker, proto::audit::DecisionArgs&& decision);
    [[nodiscard]] Result<Taken> settle(std::uint64_t worker, const proto::audit::OutcomeArgs& outcome);

    // BROKEN, of the locker.
    void note_broken(const proto::audit::BrokenArgs& broken);

    // Nothing more comes from `worker`: its held calls are lost. Its sessions stay until they depart.
    void lose_worker(std::uint64_t worker);
    // Writes all that is held, with the result "unknown".
    void give_up();

    // The worker of a session; 0 if it is not known.
    [[nodiscard]] std::uint64_t worker_of(std::uint64_t session) const noexcept;
    // What the broker calls the worker; empty if it is not known.
    [[nodiscard]] std::string identity_of(std::uint64_t worker) const;
    // Calls of `worker` that are held.
    [[nodiscard]] std::size_t held(std::uint64_t worker) const noexcept;

private:
    struct Session {
        std::uint64_t worker = 0;
        Moment begun{};
        Client client{};
        bool locks = false;    // the locker may speak of it
        bool is_full = false;  // otherwise the client has an identity and nothing else
    };
    struct Held {
        Moment time{};
        proto::audit::DecisionArgs decision;
        std::size_t cost = 0;
    };
    using CallKey = std::pair<std::uint64_t, std::uint64_t>;  // session and call
    using Calls = std::map<CallKey, std::list<Held>::iterator>;
    struct Worker {
        Client client{};         // its identity, for sessions of which nothing else is known
        std::list<Held> held{};  // oldest first
        Calls calls{};
        std::size_t cost = 0;
        std::uint64_t dropped = 0;  // as it counts
    };

    [[nodiscard]] Result<Taken> find_session(std::uint64_t worker, std::uint64_t session) const;
    [[nodiscard]] const Client& client_of(const Worker& worker, std::uint64_t session) const;
    void note_dropped(Worker& worker, std::uint64_t dropped);
    void hold(Worker& worker, Held&& held);
    static void forget(Worker& worker, Calls::iterator call);
    void release(Worker& worker, Calls::iterator call, const Ending& ending);
    void release_oldest(Worker& worker, const Ending& ending);

    Writer& writer_;
    const WallClock clock_;
    std::map<std::uint64_t, Worker> workers_;
    std::unordered_map<std::uint64_t, Session> sessions_;
    std::size_t clients_ = 0;
    struct Departed {
        std::uint64_t worker = 0;
        bool locks = false;
    };
    std::unordered_map<std::uint64_t, Departed> departed_;  // by session
    std::deque<std::uint64_t> departed_order_;
};

}  // namespace virtgate::workerd::auditor
