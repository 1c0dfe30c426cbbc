// SPDX-License-Identifier: LGPL-2.1-or-later
// store - the process that serves virtgate:///, as a whole: its parts, its parent, its life.
//
// It speaks libvirt's main program on the connections that the broker hands to it (proto/store.x), one for each session, and
// ends with the broker. It listens nowhere. From the broker it has its way to the lock daemon, too, when it asks for one.
//
// Twin: workerd/broker/store_post (proto/store.x, proto/supervise.x).
//
// Trust:  the broker is believed. At the other end of a connection is a worker, whose frames are those of its client: every
//         byte of them is hostile.
// Limits: k_links_max connections; more are closed.
// Owns:   the channel to the broker, and all parts but what main() has made before the process was confined.
#pragma once

#include "libshared/rpc/control.h"
#include "workerd/store/connect_desk.h"
#include "workerd/store/pool_desk.h"
#include "workerd/store/transfer_desk.h"
#include "workerd/store/volume_desk.h"

namespace virtgate::workerd::store {

class Store final : private server::ServerOwner {
public:
    static constexpr std::size_t k_links_max = 16384;

    struct Parts {
        Places& places;
        StateDirectory& state;
        Workshop& swift;
        Workshop& slow;
        const Host& host;
    };
    // The parts are borrowed.
    Store(loop::Loop& loop, const Parts& parts, Locks::Plan locks, UniqueFd channel);
    ~Store() override;
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    // Takes up the pools, and says to the broker that it serves. Error: system's fault.
    [[nodiscard]] Done start(const std::string& default_pool);

private:
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view reason) noexcept;
    void attach(rpc::Control::Message& message) noexcept;
    void take_way(rpc::Control::Message& message) noexcept;
    void ask_locks() noexcept;
    bool admits(const server::Peer&, unsigned) noexcept override { return false; }  // there is no listener
    void on_closed(server::Client& client, std::string_view reason) noexcept override;
    void on_settled() noexcept override {}

    loop::Loop& loop_;
    server::Program program_;
    server::Server server_;
    Announcer announcer_;
    Locks locks_;
    House house_;
    ConnectDesk connect_desk_;
    PoolDesk pool_desk_;
    VolumeDesk volume_desk_;
    TransferDesk transfer_desk_;
    rpc::Control channel_;
};

}  // namespace virtgate::workerd::store
