// SPDX-License-Identifier: LGPL-2.1-or-later
// administration - who holds what, told to an administrator; and locks broken by one.
//
// A broken lock is free at once. Its owner is not ended: whoever breaks a lock says by that that the owner does not write any
// more. What can be told is told: connections that speak for the owner are ended, and its next release fails.
//
// Twin: ctl/locks (proto/locks.x).
//
// Trust:  root and this process's own user, by the kernel's word at accept. Everybody else gets an error, whatever he asks;
//         and so does a session of the front door, whoever has connected it.
// Limits: an answer has at most k_listed_max rows and some k_page bytes; lists go on where the last answer ended, so
//         nothing is remembered between two of them.
#pragma once

#include <unordered_map>

#include "libshared/server/program.h"
#include "libshared/server/server.h"
#include "lockd/locker/connections.h"
#include "lockd/locker/session_desk.h"
#include "lockd/locker/spaces.h"
#include "proto/locks.h"

namespace virtgate::lockd::locker {

class Administration : private LockBreaker {
public:
    // Bytes of names and paths, after which an answer is full.
    static constexpr std::size_t k_page = 49'152;

    // All outlive this object.
    Administration(Connections& connections, const SessionDesk& sessions, Spaces& spaces, LockTable& table,
                   server::Server& server, Witness& witness, const Departures& departures);
    ~Administration() override = default;
    Administration(const Administration&) = delete;
    Administration& operator=(const Administration&) = delete;

    [[nodiscard]] const server::Program& program() const noexcept { return program_; }

private:
    using Client = server::Client;
    using Call = server::Call;
    void count(Client& client, Call call) noexcept;
    void list(Client& client, const proto::locks::ListArgs& arguments, Call call) noexcept;
    void list_spaces(Client& client, const proto::locks::SpacesArgs& arguments, Call call) noexcept;
    void break_lock(Client& client, const proto::locks::BreakArgs& arguments, Call call) noexcept;
    void on_broken(Ticket ticket, Answer<std::vector<proto::kept::KeptHold>> holds) noexcept override;
    // To the auditor. `hold`: that is over; null: nothing is, for that reason.
    struct Breaking;
    void note(const Breaking& breaking, const proto::kept::KeptHold* hold, bool lives, int error) noexcept;
    // False, and `call` answered, if `client` may not.
    [[nodiscard]] bool admit(const Client& client, Call& call) noexcept;

    // Somebody waits for a lock to be broken.
    struct Breaking {
        Call call;
        server::Peer peer{};
        std::string space{}, name{}, reason{};
    };

    Connections& connections_;
    const SessionDesk& sessions_;
    Spaces& spaces_;
    LockTable& table_;
    server::Server& server_;
    Witness& witness_;
    const Departures& departures_;
    const uid_t own_;
    server::Program program_;
    std::unordered_map<Ticket, Breaking> breaking_;
    Ticket next_ticket_ = 1;
    Sparse strangers_;
};

}  // namespace virtgate::lockd::locker
