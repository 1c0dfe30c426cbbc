// SPDX-License-Identifier: LGPL-2.1-or-later
// local_door - accept clients of the UNIX sockets, and read from the kernel who they are.
//
// The gates cannot be asked who connected: what a taken-over gate says would be worth nothing. So doorman accepts, and
// a gate gets the connection when the client is known.
//
// Trust:  what the kernel says about the peer is true at the moment when it connected; the process may have changed
//         since (and may have passed its end to another one).
// Limits: k_accepts_per_turn clients, then others have their turn; the owner bounds the rest.
// Owns:   the listening sockets.
#pragma once

#include <memory>

#include "libshared/base/fd.h"
#include "libshared/base/log.h"
#include "libshared/loop/loop.h"
#include "proto/who.h"

namespace virtgate::netd::doorman {

// A client of a UNIX socket.
struct LocalClient {
    proto::who::Who who;
    UniqueFd connection;
    std::string name;  // for logs: "uid 1000 pid 4711"
};

// What the kernel knows about the peer of `socket` (a connected UNIX socket). Error: system's fault.
Result<proto::who::LocalFacts> read_peer(int socket);

class LocalDoor {
public:
    using OnClient = loop::Target<LocalClient&>;

    // For the listening sockets, of which the second gets read-only clients; either may be empty. Nobody is
    // accepted before open().
    LocalDoor(loop::Loop& loop, UniqueFd listener, UniqueFd read_only_listener, OnClient on_client);

    // Accepts clients from now on.
    void open() noexcept { watch(loop::Want::read); }
    // Accepts nobody any more.
    void close() noexcept;

private:
    void on_listener(loop::Want) noexcept { accept_from(listener_.get(), false); }
    void on_read_only_listener(loop::Want) noexcept { accept_from(read_only_listener_.get(), true); }
    void accept_from(int listener, bool read_only) noexcept;
    void on_again() noexcept;
    void watch(loop::Want want) noexcept;

    Log log_{"unix"};
    Sparse starved_;
    UniqueFd listener_, read_only_listener_;
    OnClient on_client_;
    std::unique_ptr<loop::Watch> watch_, read_only_watch_;
    std::unique_ptr<loop::Timer> again_;
};

}  // namespace virtgate::netd::doorman
