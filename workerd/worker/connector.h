// SPDX-License-Identifier: LGPL-2.1-or-later
// connector - new connections to libvirt daemons, which a worker cannot make itself.
//
//     Opening ──ask_connect()──▶ Connector ──CONNECT──▶ broker ──connect(2)──▶ the daemon's socket
//                                    ◀──────── the connection ────────┘
//
// Twin: workerd/broker/crew.cc serves CONNECT (proto/work.x).
//
// A filter of system calls cannot see where connect(2) leads. So a worker has no socket(2) at all, and a taken-over one
// reaches what the broker's configuration names and nothing else on the machine.
//
// Trust:  the broker is believed.
// Limits: as many questions as there are sessions and links of names.
#pragma once

#include <map>
#include <string>

#include "libshared/base/fd.h"
#include "libshared/base/log.h"
#include "libshared/rpc/control.h"

namespace virtgate::workerd::worker {

class Connector {
public:
    struct Connected {
        UniqueFd socket{};  // connected, a non-blocking stream; empty: not
        int number = 0;  // then why: an errno. EAGAIN: the daemon's queue is full, and it may be asked again
    };
    using OnConnected = loop::Target<Connected&>;
    using Ticket = std::uint32_t;

    virtual ~Connector() = default;
    // Asks for a connection to the socket at the configured path `socket`. `on_connected` is called later from the loop,
    // once, unless the ticket is forgotten before.
    // `session`: for which one; 0: for the worker's own questions.
    [[nodiscard]] virtual Ticket ask_connect(const std::string& socket, std::uint64_t session,
                                             OnConnected on_connected) = 0;
    // Nobody waits any more. A connection that still comes is closed.
    virtual void forget(Ticket ticket) noexcept = 0;
};

// Asks over the worker's channel to the broker.
class BrokerConnector final : public Connector {
public:
    // `control` is borrowed. Whoever reads from it calls take_reply().
    explicit BrokerConnector(rpc::Control& control) noexcept : control_(control) {}

    [[nodiscard]] Ticket ask_connect(const std::string& socket, std::uint64_t session,
                                     OnConnected on_connected) override;
    void forget(Ticket ticket) noexcept override;

    // Takes the answer to a question of this object. Returns what is wrong with it; empty if nothing is.
    [[nodiscard]] std::string_view take_reply(rpc::Control::Message& message);
    // True if `header` is that of such an answer.
    [[nodiscard]] static bool is_reply(const rpc::Header& header) noexcept;

private:
    rpc::Control& control_;
    std::map<Ticket, OnConnected> questions_;  // by serial; without an object: forgotten
};

}  // namespace virtgate::workerd::worker
