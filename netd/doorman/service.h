// SPDX-License-Identifier: LGPL-2.1-or-later
// service - all of doorman: the supervisor's channel, a desk for each gate, the UNIX sockets, and the ways to the
// broker and to virtgate-sasl.
//
//     starting ── the SASL mechanisms are known, if they are needed ─▶ serving ── DRAIN ─▶ serving without sockets
//
// Trust:  the supervisor is trusted; without it doorman ends.
// Limits: one live channel per gate; a new one replaces the old.
// Owns:   everything that doorman has.
#pragma once

#include <map>
#include <memory>

#include "libshared/base/log.h"
#include "libshared/metrics/pages.h"
#include "netd/doorman/desk.h"
#include "netd/doorman/local_door.h"

namespace virtgate::netd::doorman {

class Service {
public:
    // The listening UNIX sockets; empty if there are none.
    struct Listeners {
        UniqueFd local, read_only;
    };
    // Serves until the supervisor's channel `parent` is closed; then stops `loop`. `examiner` outlives it.
    Service(loop::Loop& loop, UniqueFd parent, const Examiner& examiner,
            const proto::config::DoormanConfig& config, Listeners listeners);

    // Tells the supervisor that doorman serves, as soon as it does. Error: the channel is closed.
    Done report_ready();

    // For the exit status of the program, after the loop stopped.
    [[nodiscard]] int status() const noexcept { return status_; }

private:
    void on_parent(rpc::Control::Message& message) noexcept;
    void on_parent_closed(std::string_view why) noexcept;
    void on_mechanisms() noexcept;
    void on_local(LocalClient& client) noexcept;
    void on_desk_gone(std::uint32_t gate) noexcept;
    void on_sweep() noexcept;
    void serve_adopt(rpc::Control::Message& message);
    void on_steward(rpc::Control::Message& message) noexcept;
    void on_steward_closed(std::string_view why) noexcept;
    [[nodiscard]] bool needs_sasl() const noexcept;

    loop::Loop& loop_;
    const proto::config::LoginMode tls_, tcp_, local_mode_;
    Log log_;
    BrokerLink broker_;
    Failures failures_;
    Counts counts_;
    const Examiner& examiner_;
    SaslLink sasl_;
    const DeskTools tools_;
    std::map<std::uint32_t, std::unique_ptr<Desk>> desks_;  // by gate
    std::vector<std::unique_ptr<Desk>> gone_;               // freed by on_sweep()
    std::unique_ptr<loop::Timer> sweep_;
    LocalDoor local_;
    std::uint32_t next_gate_ = 0;  // for the next client of a UNIX socket
    rpc::Control parent_;
    std::unique_ptr<rpc::Control> steward_;
    metrics::Pages pages_;
    bool has_mechanisms_ = false, wants_ready_ = false, reported_ = false;
    int status_ = 0;
};

}  // namespace virtgate::netd::doorman
