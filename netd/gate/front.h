// SPDX-License-Identifier: LGPL-2.1-or-later
// front - clients that are not let in yet: accept, TLS handshake, doorman's word, the confirmation byte.
//
//   TLS:   accepted → (first byte) → handshake → asking doorman → 0x01 ─┬─────────▶ handed to the session loop
//   TCP:   accepted → (first byte) → asking doorman ────────────────────┼─ login ─▶
//   UNIX:  accepted and judged by doorman ──────────────────────────────┘
//
// It has a thread and a loop of its own, at a lower priority than the sessions': a signature takes the keeper a
// millisecond and the answer has to be waited for, and no session may feel that. TLS state is made only when a
// client has sent something, so a silent connection costs a descriptor and little else.
//
// Trust:  the most hostile input of all: nobody is known yet.
// Limits: `connections` clients of this gate, sessions included, of which `arrivals` are not let in yet; more wait in the
//         listener's queue. So many of each
//         source (sources.h); more are closed at once. Deadlines for the handshake, for being let in, and for
//         logging in. No frame is read before a client is let in but those of the login (login.h).
// Owns:   the connections until they are handed over.
#pragma once

#include <atomic>
#include <list>

#include "libshared/loop/mailbox.h"
#include "netd/gate/door.h"
#include "netd/gate/session.h"
#include "netd/gate/tls/signer.h"

namespace virtgate::netd::gate {

class Front {
public:
    // The listening sockets, borrowed; -1: there is none.
    struct Listeners {
        int tls = -1, tcp = -1;
    };
    // `live` counts the clients of this gate; the session loop takes one off for each session that ends.
    // `admitted` receives those that were let in; they have places in `sources`, which outlives them.
    // They are on `roll`, too.
    Front(loop::Loop& loop, const Settings& settings, const Credentials& credentials, Signer& signer,
          Listeners listeners, std::atomic<std::size_t>& live, Sources& sources, Roll& roll,
          loop::Mailbox<Admitted>& admitted);
    ~Front();

    // There is a keeper again: clients that waited for one go on.
    void keeper_came() noexcept { on_nonces(); }
    void adopt_doorman(UniqueFd channel) { door_.adopt(std::move(channel)); }
    // Accepts clients from now on.
    void serve() noexcept;
    // How many connections there may be from now on, and how many of them that are not let in yet. Those that are
    // there stay.
    void set_bounds(std::size_t connections, std::size_t arrivals) noexcept;
    // Closes the connection `id` (roll.h) if it is on its way in. False if it is not.
    bool close(std::uint64_t id, std::string_view why) noexcept;
    // Accepts nobody any more. Clients that are on their way in are still let in.
    void drain() noexcept;
    // True if nobody is on the way in.
    [[nodiscard]] bool is_empty() const noexcept { return arrivals_.empty(); }

private:
    // What a connection has as long as it lives.
    struct Stay {
        Sources::Place place;
        Roll::Entry entry;
    };
    class Arrival;
    friend class Arrival;
    using Arrivals = std::list<std::unique_ptr<Arrival>>;

    void on_tls(loop::Want) noexcept { accept_from(listeners_.tls); }
    void on_tcp(loop::Want) noexcept { accept_from(listeners_.tcp); }
    void accept_from(int listener) noexcept;
    void take_in(int listener, UniqueFd socket, const sockaddr_storage& from);
    void on_accept_again() noexcept;
    void on_arrived(Door::Arrived& arrived) noexcept;
    void on_nonces() noexcept;
    void add(std::unique_ptr<Arrival> arrival);
    // Takes `arrival` off the list and destroys it.
    void drop(Arrival& arrival) noexcept;
    void admit(std::unique_ptr<Connection> connection, UniqueFd session, proto::who::SessionGrant grant,
               const std::string& name, Stay stay);
    [[nodiscard]] bool is_full() const noexcept {
        return live_ >= connections_max_ || arrivals_.size() >= arrivals_max_;
    }
    void watch_listeners(loop::Want want) noexcept;
    void crowded(std::string_view name, proto::control::Transport transport) noexcept;

    loop::Loop& loop_;
    const Settings& settings_;
    const Credentials& credentials_;
    Signer& signer_;
    const Listeners listeners_;
    std::atomic<std::size_t>& live_;
    Sources& sources_;
    Roll& roll_;
    loop::Mailbox<Admitted>& admitted_;
    Log log_{"front"};
    Door door_;
    Arrivals arrivals_;
    std::size_t connections_max_, arrivals_max_;
    std::size_t login_memory_ = 0;  // see login.h
    Sparse crowded_out_, full_, starved_;
    std::size_t crowd_ = 0;  // the most arrivals at a time since memory was given back
    std::unique_ptr<loop::Watch> tls_watch_, tcp_watch_;
    std::unique_ptr<loop::Timer> accept_again_;
    bool serving_ = false;
};

}  // namespace virtgate::netd::gate
