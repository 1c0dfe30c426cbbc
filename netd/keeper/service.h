// SPDX-License-Identifier: LGPL-2.1-or-later
// service - keeper's two channels: the supervisor's, and that of the one gate it signs for.
//
// Twins: ADOPT comes from the supervisor (netd/supervisor.cc), SIGN from the gate (netd/gate/tls/signer.cc).
//
// Trust:  the gate may be taken over. A SIGN that the key or the protocol does not allow gets an error. The
//         supervisor is trusted.
// Limits: one gate. A new channel replaces the old one. Keeper ends when the channel of its gate or the
//         supervisor is closed, or the gate sends anything but a well-formed SIGN: the supervisor starts
//         another one, with a new channel to the gate. So no gate is ever left without a keeper.
#pragma once

#include <memory>

#include "libshared/base/log.h"
#include "libshared/rpc/control.h"
#include "netd/keeper/signer.h"

namespace virtgate::netd::keeper {

class Service {
public:
    // Serves `parent`, the supervisor's channel; stops `loop` when keeper has to end.
    Service(loop::Loop& loop, UniqueFd parent, const Signer& signer, std::string name);

    // Tells the supervisor that keeper serves. Error: the channel is closed.
    Done report_ready();

private:
    void on_parent(rpc::Control::Message& message) noexcept;
    void on_parent_closed(std::string_view why) noexcept;
    void on_gate(rpc::Control::Message& message) noexcept;
    void on_gate_closed(std::string_view why) noexcept;

    loop::Loop& loop_;
    const Signer& signer_;
    Log log_;
    rpc::Control parent_;
    std::unique_ptr<rpc::Control> gate_;
};

}  // namespace virtgate::netd::keeper
