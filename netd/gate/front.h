// SPDX-License-Identifier: LGPL-2.1-or-later
// front - clients that are not let in yet: accept, TLS handshake, doorman's word, the confirmation byte.
//
//   accepted → (first byte) → handshake → asking doorman → 0x01 → handed to the session loop
//
// It has a thread and a loop of its own, at a lower priority than the sessions': a signature takes the keeper a
// millisecond and the answer has to be waited for, and no session may feel that. TLS state is made only when a
// client has sent something, so a silent connection costs a descriptor and little else.
//
// Trust:  the most hostile input of all: nobody is known yet.
// Limits: `connections` clients of this gate, sessions included; more wait in the listener's queue. Deadlines for
//         the handshake and for being let in. No frame is read before a client is let in.
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
    // `live` counts the clients of this gate; the session loop takes one off for each session that ends.
    // `admitted` receives those that were let in.
    Front(loop::Loop& loop, const Settings& settings, const Credentials& credentials, Signer& signer,
          int listener, std::atomic<std::size_t>& live, loop::Mailbox<Admitted>& admitted);
    ~Front();

    // There is a keeper again: clients that waited for one go on.
    void keeper_came() noexcept { on_nonces(); }
    void adopt_doorman(UniqueFd channel) { door_.adopt(std::move(channel)); }
    // Accepts nobody any more. Clients that are on their way in are still let in.
    void drain() noexcept;
    // True if nobody is on the way in.
    [[nodiscard]] bool is_empty() const noexcept { return arrivals_.empty(); }

private:
    class Arrival;
    friend class Arrival;
    using Arrivals = std::list<std::unique_ptr<Arrival>>;

    void on_listener(loop::Want ready) noexcept;
    void on_accept_again() noexcept;
    void on_decision(Door::Decision& decision) noexcept;
    void on_nonces() noexcept;
    // Takes `arrival` off the list and destroys it.
    void drop(Arrival& arrival) noexcept;
    void pause_accepting() noexcept;

    loop::Loop& loop_;
    const Settings& settings_;
    const Credentials& credentials_;
    Signer& signer_;
    int listener_;
    std::atomic<std::size_t>& live_;
    loop::Mailbox<Admitted>& admitted_;
    Log log_{"front"};
    Door door_;
    Arrivals arrivals_;
    std::unique_ptr<loop::Watch> listener_watch_;
    std::unique_ptr<loop::Timer> accept_again_;
    bool draining_ = false;
};

}  // namespace virtgate::netd::gate
