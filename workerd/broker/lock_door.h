// SPDX-License-Identifier: LGPL-2.1-or-later
// lock_door - sessions with the lock daemon, for clients whose policy allows calls about locks.
//
// Each is a connection that is begun here with the identity's rights, and given away: whoever has it speaks for that session
// and for nobody else. Before the answer has come it could still become anybody's session, so that is waited for, a moment;
// a lock daemon that does not answer then is not asked for a while. A policy that comes into force later is told on a
// connection of our own, again and again until the lock daemon has taken it.
//
// Two more connections are begun here and given away: one to a process of our own that locks for sessions (the store), and one
// to the auditor, by which the lock daemon's process tells it what it decides about our sessions.
//
// Twin: lockd/locker/session_desk (proto/lock_session.x).
//
// Trust:  the lock daemon is believed about nothing: it gets rights, and answers whether it took them.
// Limits: a session's rights have to fit one call (k_session_rights_max). Nobody waits longer than k_patience, and after that
//         for k_rest not at all.
// Owns:   its own connection while it tells of new rights; the names of identities that got a session.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "libshared/base/fd.h"
#include "libshared/base/log.h"
#include "libshared/loop/loop.h"
#include "libshared/rpc/header.h"
#include "proto/locks.h"
#include "proto/policy.h"
#include "proto/who.h"

namespace virtgate::workerd::broker {

class LockDoor {
public:
    static constexpr Milliseconds k_retry{1'000};
    static constexpr Milliseconds k_patience{250};
    static constexpr Milliseconds k_rest{2'000};

    // `path`: of the lock daemon's socket; empty: there is none.
    LockDoor(loop::Loop& loop, std::string path);
    LockDoor(const LockDoor&) = delete;
    LockDoor& operator=(const LockDoor&) = delete;

    struct Opened {
        proto::who::LockWay way = proto::who::LockWay::locks_refused;
        UniqueFd connection{};  // if it is ready
    };
    // A session for a client of the identity whose `rights` these are, that came in at `listener`.
    [[nodiscard]] Opened open(const proto::policy::IdentityRights& rights, std::uint64_t session,
                              const std::string& listener);

    // The same for a process of our own that locks for sessions. A connection, or why there is none.
    struct Way {
        UniqueFd connection{};
        std::string why{};
    };
    [[nodiscard]] Way open_for_others(const proto::policy::IdentityRights& rights);

    // A connection for the auditor, by which the lock daemon's process tells it what it decides about sessions that were
    // begun here; or why there is none.
    [[nodiscard]] Way open_for_auditor();

    // What the lock daemon has, in numbers; none if it does not say. It is waited for like for a session, and not asked while it rests.
    [[nodiscard]] std::optional<proto::locks::CountRet> count();

    // Tells the rights of each identity that got a session, as `rights_of` gives them now.
    using RightsOf = std::function<proto::policy::IdentityRights(const std::string& identity)>;
    void renew(const RightsOf& rights_of);

private:
    struct Told {
        std::string identity;
        ByteVector frame;
    };
    [[nodiscard]] Way connect(const Result<ByteVector>& frame);
    // Why the lock daemon did not take `frame`; empty: it did.
    [[nodiscard]] std::string begin(int connection, ByteView frame, ByteVector* result = nullptr);
    void tell_next() noexcept;
    void on_ready(loop::Want ready) noexcept;
    void start_again(std::string_view why) noexcept;

    loop::Loop& loop_;
    const std::string path_;
    const std::uint64_t broker_;  // which one we are
    const Log log_{"locks"};
    Instant rests_until_{};
    std::set<std::string> identities_;
    std::deque<Told> waiting_;  // the first is on its way, if there is a connection
    UniqueFd connection_;
    std::unique_ptr<loop::Watch> watch_;
    std::unique_ptr<loop::Timer> again_;
    ByteVector input_;
    Sparse absent_, late_;
};

}  // namespace virtgate::workerd::broker
