// SPDX-License-Identifier: LGPL-2.1-or-later
// overseen - the gate's side of the channel to the steward: tells of its connections, and closes one.
//
// Twin: netd/steward/link (proto/control.x, proto/metrics.x).
//
// Trust:  the steward has the word of an administrator. One that breaks the form of the channel loses it.
// Limits: one question at a time is answered, at once.
// Owns:   the channel.
#pragma once

#include "libshared/base/log.h"
#include "libshared/metrics/pages.h"
#include "libshared/rpc/control.h"
#include "netd/gate/front.h"
#include "netd/gate/sessions.h"

namespace virtgate::netd::gate {

class Overseen {
public:
    // All outlive this object. It is in the thread of `front`.
    Overseen(loop::Loop& loop, const Roll& roll, Front& front, Sessions& sessions) noexcept
        : loop_(loop), roll_(roll), front_(front), sessions_(sessions) {}

    // Uses `channel` from now on.
    void adopt(UniqueFd channel);
    // Ends all sessions, with `reason` as their clients' error.
    void dismiss(const std::string& reason);
    // The gate ends: says what it has counted.
    void say_last() noexcept;

private:
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view why) noexcept;
    template <class Ret>
    void reply(const rpc::Header& call, const Ret& ret);
    [[nodiscard]] bool close(const proto::control::CloseArgs& arguments);

    loop::Loop& loop_;
    const Roll& roll_;
    Front& front_;
    Sessions& sessions_;
    Log log_{"steward"};
    std::unique_ptr<rpc::Control> channel_;
    metrics::Pages pages_;
};

}  // namespace virtgate::netd::gate
