// SPDX-License-Identifier: LGPL-2.1-or-later
// door - the gate's side of the channel to doorman: nonces for handshakes, and letting clients in.
//
// Twins: ask_admit(), ask_enter(), ask_start(), ask_step() here, serve_…() in doorman (proto/door.x).
//
// Trust:  doorman is trusted; its answers are checked for form.
// Limits: at most k_waiting_max clients wait for an answer; who asks for more is told so at once.
// Owns:   the channel, the nonces at hand and the questions that are open.
#pragma once

#include <map>
#include <optional>
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

    // What doorman decided.
    struct Decision {
        enum class Kind : unsigned char {
            refused,  // `why_not`, and `again`: the client may try once more
            granted,  // the client is in: `grant`, `session`; from START and STEP also `token` and perhaps `layer`
            visit,  // the client has to log in: `visit`
            token,  // the exchange goes on: `token`
        };
        Kind kind = Kind::refused;
        proto::who::SessionGrant grant{};
        UniqueFd session{};
        UniqueFd layer{};
        proto::door::Visit visit{};
        std::optional<proto::door::Token> token{};
        bool again = false;
        std::string why_not{};
    };
    using OnDecision = loop::Target<Decision&>;

    // A client of a UNIX socket: `kind` of the decision is granted, visit or refused.
    struct Arrived {
        Decision decision;
        UniqueFd client;
        std::string listener;
        std::string name;  // for logs
        std::uint32_t uid = 0, gid = 0, pid = 0;
    };
    using OnArrived = loop::Target<Arrived&>;

    // Names an open question; 0: it could not be asked, and nothing will be called.
    using Ticket = std::uint32_t;

    // `nonces_came` is called when there are nonces after there were none.
    Door(loop::Loop& loop, OnArrived arrived, loop::Target<> nonces_came) noexcept;

    // Uses `channel` from now on. Questions that are open on an earlier channel are answered with a refusal.
    void adopt(UniqueFd channel);

    // A nonce for one handshake; false if there is none at the moment (nonces_came will be called).
    [[nodiscard]] bool take_nonce(TlsConnection::Random& nonce);

    // Asks doorman. `decided` is called from the loop, exactly once, unless the ticket is forgotten before.
    [[nodiscard]] Ticket ask_admit(const proto::door::AdmitArgs& proof, OnDecision decided);
    [[nodiscard]] Ticket ask_enter(const proto::door::EnterArgs& client, OnDecision decided);
    [[nodiscard]] Ticket ask_start(const proto::door::StartArgs& exchange, OnDecision decided);
    [[nodiscard]] Ticket ask_step(const proto::door::StepArgs& exchange, OnDecision decided);
    // Nobody waits for the answer any more. A session that doorman opens for it is closed.
    void forget(Ticket ticket) noexcept;
    // The client of `visit` has gone.
    void leave(std::uint64_t visit) noexcept;

private:
    struct Question {
        proto::door::Procedure procedure{};
        OnDecision decided{};  // without an object: forgotten
    };
    template <class Args>
    Ticket ask(proto::door::Procedure procedure, const Args& arguments, OnDecision decided);
    void ask_nonces();
    void on_message(rpc::Control::Message& message) noexcept;
    void on_nonces(const rpc::Control::Message& message);
    void on_answer(rpc::Control::Message& message);
    void on_arrived(rpc::Control::Message& message);
    void on_closed(std::string_view why) noexcept;

    loop::Loop& loop_;
    Log log_{"door"};
    OnArrived arrived_;
    loop::Target<> nonces_came_;
    std::unique_ptr<rpc::Control> channel_;
    std::vector<TlsConnection::Random> nonces_;
    std::uint32_t nonces_serial_ = 0;       // of the open question for nonces, or 0
    std::map<Ticket, Question> questions_;  // by serial
};

}  // namespace virtgate::netd::gate
