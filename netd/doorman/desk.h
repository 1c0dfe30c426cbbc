// SPDX-License-Identifier: LGPL-2.1-or-later
// desk - doorman's side of the channel to one gate: nonces, and who may come in.
//
// Twins: ask_nonces() and ask_admit() in netd/gate/door; serve_nonces() and serve_admit() here
//        (proto/door.x).
//
// Each client that is refused gives one line in the log with its address, what it presented and the rule that
// it broke; each client that came in gives one with its session and identity.
//
// Trust:  the gate may be taken over. A message that is not a well-formed call of the DOOR program closes its
//         channel; a proof that does not hold gets an error, since an honest gate cannot know what doorman
//         finds.
// Limits: those of nonces.h and broker_link.h.
// Owns:   the channel. A session's descriptor is passed on and closed here.
#pragma once

#include <map>
#include <memory>

#include "libshared/base/log.h"
#include "libshared/rpc/control.h"
#include "netd/doorman/broker_link.h"
#include "netd/doorman/examine.h"
#include "netd/doorman/nonces.h"

namespace virtgate::netd::doorman {

class Desk {
public:
    Desk(loop::Loop& loop, std::uint32_t gate, UniqueFd channel, const Examiner& examiner,
         BrokerLink& broker);
    ~Desk() { broker_.forget(this); }
    Desk(const Desk&) = delete;
    Desk& operator=(const Desk&) = delete;

private:
    // An admission that waits for the broker.
    struct Open {
        std::string client;     // "192.0.2.7 port 4711"
        std::string presented;  // escaped
    };
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view why) noexcept;
    void on_answer(BrokerAnswer& answer) noexcept;
    void serve_nonces(const rpc::Header& call);
    void serve_admit(const rpc::Header& call, ByteView payload);
    void refuse(const rpc::Header& call, const Open& admission, std::string_view rule);
    void hang_up(std::string_view why) noexcept;

    Log log_;
    const Examiner& examiner_;
    BrokerLink& broker_;
    Nonces nonces_;
    std::map<std::uint32_t, Open> open_;  // by serial of the gate's call
    std::unique_ptr<rpc::Control> channel_;
};

}  // namespace virtgate::netd::doorman
