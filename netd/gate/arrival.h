// SPDX-License-Identifier: LGPL-2.1-or-later
// arrival - one client between accept() and its session.
//
// Trust, limits: see front.h.
// Owns:   the client's socket and, as far as it has come, its connection and its login.
#pragma once

#include "netd/gate/front.h"
#include "netd/gate/login.h"

namespace virtgate::netd::gate {

class Front::Arrival {
public:
    enum class Kind : unsigned char { tls, tcp, local };

    // A client that was accepted here.
    Arrival(Front& front, Kind kind, UniqueFd socket, std::string name, std::string address,
            std::uint16_t port, Stay stay);
    // A client of a UNIX socket that has to log in.
    Arrival(Front& front, UniqueFd socket, std::string name, Stay stay, proto::door::Visit visit);
    // One that is to be told that it is refused.
    Arrival(Front& front, UniqueFd socket, std::string name, Stay stay, std::string refusal);

    // Where it is in Front's list, so that it can be taken off in constant time.
    Arrivals::iterator place_in_list;

    // There are nonces and a keeper again.
    void nonces_came() noexcept;
    // Its number on the roll.
    [[nodiscard]] std::uint64_t connection() const noexcept { return stay_.entry.id(); }
    // Ends it at once. It is gone then.
    void close(std::string_view why) noexcept;
    // Forgets what was asked at the door.
    void leave() noexcept;

private:
    enum class State : unsigned char {
        silent,     // nothing was received
        nonceless,  // something was received, and there is no nonce or no keeper to start TLS with
        handshake,
        asking,  // doorman thinks
        login,   // the client has to log in
        over,
    };
    void on_ready(loop::Want ready) noexcept;
    void on_deadline() noexcept;
    void on_decision(Door::Decision& decision) noexcept;
    void on_login_changed() noexcept;
    void start();
    void start_tls();
    void go_on();
    void ask_admit();
    void ask_enter();
    void wait_for_doorman();
    template <class What>
    void begin_login(What what);
    void look_at_login();
    void admit(proto::who::SessionGrant grant, UniqueFd session);
    void refuse(std::string_view why, Roll::Refusal kind) noexcept;
    void be_late(std::string_view why, Roll::Late what) noexcept;
    void restart_deadline(Milliseconds since_accept) noexcept;
    void settle() noexcept;

    Front& front_;
    const Kind kind_;
    UniqueFd socket_;  // until the connection owns it
    std::string name_;
    std::string address_;
    std::uint16_t port_ = 0;
    Stay stay_;
    std::unique_ptr<Connection> connection_;
    TlsConnection* tls_ = nullptr;  // connection_, while that is one
    std::unique_ptr<Login> login_;
    State state_ = State::silent;
    Instant since_;
    Door::Ticket ticket_ = 0;
    std::unique_ptr<loop::Watch> watch_;
    std::unique_ptr<loop::Timer> deadline_;
};

}  // namespace virtgate::netd::gate
