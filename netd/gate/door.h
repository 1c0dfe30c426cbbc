// SPDX-License-Identifier: LGPL-2.1-or-later
// door - the gate's side of the channel to doorman: nonces for handshakes, and letting clients in.
//
// Twins: ask_admit() here, serve_admit() in doorman (proto/door.x).
//
// Trust:  doorman is trusted; its answers are checked for form.
// Limits: at most k_waiting_max clients wait for an answer; who asks for more is told so at once.
// Owns:   the channel, the nonces at hand and the questions that are open.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "libshared/base/log.h"
#include "libshared/rpc/control.h"
#include "netd/gate/tls/connection.h"
#include "proto/door.h"

namespace virtgate::netd::gate {

class Door {
public:
    static constexpr std::size_t k_waiting_max = 4096;
    // New nonces are asked for when there are fewer than this.
    static constexpr std::size_t k_nonces_low = 32;

    // What doorman decided. Without `grant` the client is refused.
    struct Decision {
        std::uint64_t ticket;  // what ask_admit() returned
        proto::who::SessionGrant* grant;
        UniqueFd session;
        std::string_view why_not;
    };
    using OnDecision = loop::Target<Decision&>;

    // `decided` is called from the loop for each question, exactly once unless it was forgotten before.
    // `nonces_came` is called when there are nonces after there were none.
    Door(loop::Loop& loop, OnDecision decided, loop::Target<> nonces_came) noexcept;

    // Uses `channel` from now on. Questions that are open on an earlier channel are answered with a refusal.
    void adopt(UniqueFd channel);

    // A nonce for one handshake; false if there is none at the moment (nonces_came will be called).
    [[nodiscard]] bool take_nonce(TlsConnection::Random& nonce);

    // Asks doorman to let the client in whose handshake `proof` shows. Returns the ticket of the question, or 0 if
    // it cannot be asked now.
    [[nodiscard]] std::uint64_t ask_admit(const proto::door::AdmitArgs& proof);
    // Nobody waits for the answer any more. A session that doorman opens for it is closed.
    void forget(std::uint64_t ticket) noexcept;

private:
    void ask_nonces();
    void on_message(rpc::Control::Message& message) noexcept;
    void on_nonces(const rpc::Control::Message& message);
    void on_admitted(rpc::Control::Message& message);
    void on_closed(std::string_view why) noexcept;
    void decide(std::uint64_t ticket, proto::who::SessionGrant* grant, UniqueFd session,
                std::string_view why_not);

    loop::Loop& loop_;
    Log log_{"door"};
    OnDecision decided_;
    loop::Target<> nonces_came_;
    std::unique_ptr<rpc::Control> channel_;
    std::vector<TlsConnection::Random> nonces_;
    std::uint32_t nonces_serial_ = 0;                 // of the open question for nonces, or 0
    std::map<std::uint32_t, std::uint64_t> waiting_;  // serial → ticket; 0: forgotten
    std::uint64_t tickets_ = 0;
};

}  // namespace virtgate::netd::gate
