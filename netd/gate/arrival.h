// SPDX-License-Identifier: LGPL-2.1-or-later
// arrival - one client between accept() and its session.
//
// Trust, limits: see front.h.
// Owns:   the client's socket and TLS state.
#pragma once

#include "netd/gate/front.h"

namespace virtgate::netd::gate {

class Front::Arrival {
public:
    Arrival(Front& front, UniqueFd socket, std::string address, std::uint16_t port);

    // Where it is in Front's list, so that it can be taken off in constant time.
    Arrivals::iterator place;

    // There are nonces and a keeper again.
    void nonces_came() noexcept;
    // Doorman has answered; true if this arrival had asked with that ticket. It is gone afterwards.
    bool decided(Door::Decision& decision) noexcept;
    // Frees the ticket at the door.
    void leave() noexcept;

private:
    enum class State : unsigned char {
        silent,     // nothing was received
        nonceless,  // something was received, and there is no nonce or no keeper to start TLS with
        handshake,
        asking,  // doorman thinks
        over,
    };
    void on_ready(loop::Want ready) noexcept;
    void on_deadline() noexcept;
    void start_tls();
    void go_on();
    void ask();
    void refuse(std::string_view why) noexcept;

    Front& front_;
    UniqueFd socket_;  // until TLS owns it
    std::string address_;
    std::uint16_t port_;
    std::unique_ptr<TlsConnection> tls_;
    State state_ = State::silent;
    Instant since_;
    std::uint64_t ticket_ = 0;
    std::unique_ptr<loop::Watch> watch_;
    std::unique_ptr<loop::Timer> deadline_;
};

}  // namespace virtgate::netd::gate
