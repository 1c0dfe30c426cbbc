// SPDX-License-Identifier: LGPL-2.1-or-later
// parent - the gate's side of its control channel to the supervisor.
//
// Twins: the supervisor sends ADOPT, SERVE, DRAIN, TUNE and DISMISS (proto/supervise.x); serve_adopt() and so on here.
//
// Trust:  the supervisor is trusted. When it is gone the gate ends: nobody would restart its peers.
// Owns:   the channel.
#pragma once

#include "libshared/base/log.h"
#include "libshared/rpc/control.h"
#include "netd/gate/front.h"
#include "netd/gate/overseen.h"
#include "netd/gate/tls/signer.h"

namespace virtgate::netd::gate {

class Parent {
public:
    Parent(loop::Loop& loop, UniqueFd channel, Front& front, Signer& signer, Overseen& overseen,
           const std::atomic<std::size_t>& live);

private:
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view why) noexcept;
    void on_drained() noexcept;
    void serve_adopt(rpc::Control::Message& message);
    void serve_drain();
    void serve_tune(const rpc::Control::Message& message);
    void serve_dismiss(const rpc::Control::Message& message);
    void report_ready();

    loop::Loop& loop_;
    Log log_{"parent"};
    Front& front_;
    Signer& signer_;
    Overseen& overseen_;
    const std::atomic<std::size_t>& live_;
    rpc::Control channel_;
    std::unique_ptr<loop::Timer> drained_;
    bool has_keeper_ = false;
    bool has_doorman_ = false;
    bool reported_ = false;
};

}  // namespace virtgate::netd::gate
