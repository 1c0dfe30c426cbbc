// SPDX-License-Identifier: LGPL-2.1-or-later
// recovery - take over from an earlier locker what the holder has: lock spaces, locks, connections.
//
// A connection that was handed over goes on where it was. One that was kept when the earlier locker crashed may wait for an
// answer that was never sent, or was sent: nobody knows. So nothing is said on it any more, which its client sees as an end;
// and the end of its owner is still noticed (departures.h).
//
// What makes no sense stays kept and locked, and is said: a lock that nobody can release is a nuisance, one that is let go
// by mistake destroys a disk.
//
// Trust:  records were written by a locker, perhaps of an older version; descriptors are checked against them.
// Owns:   what it cannot make sense of.
#pragma once

#include "lockd/locker/connections.h"
#include "lockd/locker/spaces.h"

namespace virtgate::lockd::locker {

class RecoveryUser {
public:
    virtual ~RecoveryUser() = default;
    // All is taken over and the holder knows it; or the holder did not give it.
    virtual void on_recovered(Done done) noexcept = 0;
};

class Recovery : private RestoreUser, private KeepingUser {
public:
    // All that it takes over into; they outlive this object.
    struct Parts {
        Keeping& keeping;
        Spaces& spaces;
        LockTable& table;
        Departures& departures;
        Connections& connections;
        server::Server& server;
    };
    Recovery(const Parts& parts, RecoveryUser& user) : parts_(parts), user_(user) {}
    ~Recovery() override;
    Recovery(const Recovery&) = delete;
    Recovery& operator=(const Recovery&) = delete;

    // Once. on_recovered() follows.
    void start() { parts_.keeping.restore(*this); }

private:
    template <class T>
    struct Thing {
        Slot slot = 0;
        T record{};
        UniqueFd fd{};
    };
    using Connection = Thing<proto::kept::KeptConnection>;
    void on_restored(Slot slot, ByteView record, UniqueFd fd) noexcept override;
    void on_all_restored(Done done) noexcept override;
    void on_kept(Ticket ticket, Answer<void> done) noexcept override;
    void restore_space(Slot slot, const proto::kept::KeptSpace& space, UniqueFd fd);
    void restore_lease(Slot slot, const proto::kept::KeptLease& lease, UniqueFd fd);
    void restore_lock(Thing<proto::kept::KeptLock> lock);
    void restore_connection(Connection connection);
    void go_on(Connection& connection);
    void fall_silent(Connection& connection);
    void adopt(Connection& connection);
    [[nodiscard]] static bool speaks_for_itself(const Connection& connection);
    [[nodiscard]] static bool is_session(const Connection& connection) noexcept;
    void leave_alone(Slot slot, UniqueFd fd, std::string_view why);
    void end_if_done();

    const Parts parts_;
    RecoveryUser& user_;
    std::vector<Thing<proto::kept::KeptLock>> locks_;  // until all lock spaces are there
    std::vector<Connection> connections_;
    std::unordered_map<Ticket, Connection>
        waiting_;  // for the holder; `fd` empty: for nothing but its answer
    std::vector<UniqueFd> strange_;
    Ticket next_ticket_ = 1;
    bool is_asking_ = true;
};

}  // namespace virtgate::lockd::locker
