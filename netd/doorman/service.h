// SPDX-License-Identifier: LGPL-2.1-or-later
// service - all of doorman: the supervisor's channel, one desk for each gate, and the way to the broker.
//
// Trust:  the supervisor is trusted; without it doorman ends.
// Limits: one live channel per gate; a new one replaces the old.
#pragma once

#include <map>
#include <memory>

#include "libshared/base/log.h"
#include "netd/doorman/desk.h"

namespace virtgate::netd::doorman {

class Service {
public:
    // Serves until the supervisor's channel `parent` is closed; then stops `loop`.
    Service(loop::Loop& loop, UniqueFd parent, const Examiner& examiner, std::string broker_socket);

    // Tells the supervisor that doorman serves. Error: the channel is closed.
    Done report_ready();

private:
    void on_parent(rpc::Control::Message& message) noexcept;
    void on_parent_closed(std::string_view why) noexcept;

    loop::Loop& loop_;
    const Examiner& examiner_;
    Log log_;
    BrokerLink broker_;
    std::map<std::uint32_t, Desk> desks_;  // by gate
    rpc::Control parent_;
};

}  // namespace virtgate::netd::doorman
