// SPDX-License-Identifier: LGPL-2.1-or-later
// service - all of the steward: its parent, the gates, the administrators, and the programs that these may call.
//
// Twin: netd/stewardship (proto/supervise.x).
//
// Trust:  the supervisor is believed. An administrator is root, or the supervisor's own user, by the kernel's word at
//         accept; whoever else connects is closed without a word.
// Limits: k_clients_max administrators at a time; more wait in the listener's queue.
// Owns:   the channels, the listener, the clients.
#pragma once

#include "libshared/server/server.h"
#include "netd/steward/admin_desk.h"
#include "netd/steward/reading_desk.h"
#include "proto/config.h"

namespace virtgate::netd::steward {

class Service final : private server::ServerOwner, private Supervisor {
public:
    static constexpr std::size_t k_clients_max = 32;

    // `listener`: where administrators connect; empty: there are none, and only the exporter asks. `parent`: the supervisor; when that is gone `loop` stops.
    Service(loop::Loop& loop, const proto::config::StewardConfig& config, UniqueFd parent, UniqueFd listener);

    // Tells the supervisor that this process serves. Error: the channel is closed.
    Done report_ready();

private:
    bool admits(const server::Peer& peer, unsigned listener) noexcept override;
    void on_closed(server::Client& client, std::string_view reason) noexcept override;
    void on_settled() noexcept override {}
    void ask(proto::control::Procedure procedure, ByteView payload, Milliseconds patience,
             Link::Then then) override;
    void on_parent(rpc::Control::Message& message) noexcept;
    void on_parent_closed(std::string_view why) noexcept;
    void serve_adopt(rpc::Control::Message& message);

    loop::Loop& loop_;
    const uid_t owner_;
    Log log_{"steward"};
    Gates gates_;
    std::unique_ptr<Link> supervisor_;
    ReadingDesk reading_desk_;
    server::Server server_;
    ControlDesk control_desk_;
    AdminDesk admin_desk_;
    rpc::Control parent_;
    Sparse strangers_;
};

}  // namespace virtgate::netd::steward
