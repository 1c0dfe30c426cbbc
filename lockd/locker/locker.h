// SPDX-License-Identifier: LGPL-2.1-or-later
// locker - the process that serves clients of the lock program, as a whole: its parts, its parent, its life.
//
//     restoring ──all is taken over: READY──▶ waiting ──SERVE──▶ serving ──HAND_OVER──▶ handing over ──▶ (ends, 0)
//
// HAND_OVER may come in any state: what is under way is brought to its end first. A locker that loses its parent ends at
// once: what it held is where the next one finds it.
//
// Twin: lockd/holder (proto/holder.x, proto/supervise.x).
//
// Trust:  the parent is believed. Of clients, the kernel says who connects (`users`).
// Owns:   the channel to the parent, and all parts.
#pragma once

#include "lockd/locker/administration.h"
#include "lockd/locker/desk.h"
#include "lockd/locker/recovery.h"
#include "proto/config.h"

namespace virtgate::lockd::locker {

// Of the listeners; 0 is none.
inline constexpr unsigned k_own_listener = 1;
inline constexpr unsigned k_libvirt_listener = 2;

class Locker : private server::ServerOwner,
               private LockTableUser,
               private ConnectionsUser,
               private RecoveryUser,
               private EtcdSpaceUser {
public:
    // Speaks with its parent over `channel`. `clock`: see LockTable.
    Locker(loop::Loop& loop, const proto::config::LockerConfig& config, UniqueFd channel,
           LockTable::WallClock clock);
    ~Locker() override;
    Locker(const Locker&) = delete;
    Locker& operator=(const Locker&) = delete;

    // Accepts from `socket` (listening) when its time has come.
    void listen(UniqueFd socket, unsigned number) { server_.listen(std::move(socket), number); }
    // Asks for what is kept; all else follows. `loop` is stopped at the end.
    void start() { recovery_.start(); }
    // The exit status, after the end.
    [[nodiscard]] int status() const noexcept { return status_; }

    [[nodiscard]] const LockTable& table() const noexcept { return table_; }

private:
    enum class State : unsigned char { restoring, waiting, serving, handing_over, over };
    void on_message(rpc::Control::Message& message) noexcept;
    void open_queue(rpc::Control::Message& message) noexcept;
    void adopt(rpc::Control::Message& message) noexcept;
    void on_channel_closed(std::string_view reason) noexcept;
    void begin_hand_over() noexcept;
    void hand_over_if_settled() noexcept;
    void end(int status) noexcept;

    bool admits(const server::Peer& peer, unsigned listener) noexcept override;
    void on_closed(server::Client& client, std::string_view reason) noexcept override;
    void on_settled() noexcept override;
    void on_all_released(const Owner& owner) noexcept override { departures_.on_all_released(owner); }
    void on_idle() noexcept override { hand_over_if_settled(); }
    void on_lost(const std::string& path, const std::string& name,
                 const std::string& reason) noexcept override;
    void on_lost(const Owner& owner, const std::string& name) noexcept override;
    void on_handed_over() noexcept override { end(0); }
    void on_recovered(Done done) noexcept override;

    loop::Loop& loop_;
    const proto::config::LockerConfig config_;
    const Roots space_roots_, direct_roots_;
    rpc::Control channel_;
    Keeping keeping_;
    LockTable table_;
    Spaces spaces_;
    std::vector<std::unique_ptr<EtcdSpace>> in_etcd_;  // in the order of the configuration
    Departures departures_;
    Connections connections_;
    Witness witness_;
    SessionDesk sessions_;
    Desk desk_;
    server::Server server_;
    Administration administration_;
    Recovery recovery_;
    State state_ = State::restoring;
    bool hands_over_ = false;  // HAND_OVER came
    bool is_settled_ = false;  // no call is open any more
    int status_ = 0;
    Sparse strangers_;
};

}  // namespace virtgate::lockd::locker
