// SPDX-License-Identifier: LGPL-2.1-or-later
// visit - one client that has to log in: its tries, the exchange that runs, and the broker's word at the end.
//
//     idle ── START ─▶ exchanging ◀── STEP ── between
//      ▲                   ├─ a token for the client ──▶ between
//      │                   ├─ complete ──▶ admitting ── granted ─▶ (the visit is over)
//      └── answered ◀── late ◀─┴─ refused ──────┴─ refused
//
// A refusal looks the same whatever its reason, and comes as late as the source's failures make it.
//
// Trust:  the tokens are the client's, and the gate that carries them may be taken over: whatever does not fit the
//         state is the gate's lie.
// Limits: `tries` failed logins. One question at a time.
// Owns:   the exchange.
#pragma once

#include <memory>
#include <optional>

#include "netd/doorman/broker_link.h"
#include "netd/doorman/counts.h"
#include "netd/doorman/failures.h"
#include "netd/doorman/sasl_link.h"
#include "proto/door.h"
#include "proto/exchange.h"

namespace virtgate::netd::doorman {

// What all visits use.
struct VisitTools {
    loop::Loop& loop;
    BrokerLink& broker;
    SaslLink& sasl;
    Failures& failures;
    Counts& counts;
    unsigned tries;
    std::uint32_t gate = 0;  // whose visits they are
};

class Visit;

class VisitOwner {
public:
    virtual ~VisitOwner() = default;
    // The answers to the question that is open, one of them for each. `visit` may be destroyed in all of them.
    virtual void on_token(Visit& visit, std::optional<proto::door::Token> token) noexcept = 0;
    virtual void on_granted(Visit& visit, std::optional<proto::door::Token> token, BrokerAnswer& grant,
                            UniqueFd layer) noexcept = 0;
    // `again`: it may try once more.
    virtual void on_refused(Visit& visit, bool again) noexcept = 0;
};

class Visit {
public:
    // `who`: what is known of the client already. `client`: the same for logs, escaped.
    Visit(VisitTools tools, VisitOwner& owner, std::uint64_t id, proto::who::Who who, std::string client);
    ~Visit() { tools_.broker.forget(this); }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

    [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
    [[nodiscard]] Instant since() const noexcept { return since_; }
    [[nodiscard]] const proto::who::Who& who() const noexcept { return who_; }
    // What the client may choose from.
    [[nodiscard]] const std::vector<std::string>& mechanisms() const noexcept;

    // Questions of the client. False: the gate may not ask that now. Otherwise one call to the owner follows, from
    // the loop.
    [[nodiscard]] bool serve_start(proto::door::StartArgs arguments);
    [[nodiscard]] bool serve_step(proto::door::StepArgs arguments);
    // Where the owner keeps the call that waits.
    rpc::Header question{};

private:
    enum class State : unsigned char { idle, exchanging, between, admitting, late };
    [[nodiscard]] bool needs_layer() const noexcept;
    void fail(std::string_view why, bool counts);
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view why) noexcept;
    void on_answer(BrokerAnswer& answer) noexcept;
    void on_late() noexcept;
    void on_ousted() noexcept;
    void take_answer(proto::exchange::ExchangeRet& answer, channel::ReceivedFds& fds);
    template <class Args>
    void send(proto::exchange::Procedure procedure, const Args& arguments);

    VisitTools tools_;
    VisitOwner& owner_;
    const std::uint64_t id_;
    const Instant since_;
    const proto::who::Who who_;
    const std::string client_;
    const std::string source_;
    State state_ = State::idle;
    unsigned failures_ = 0;
    std::string mechanism_;
    std::unique_ptr<SaslLink::Exchange> exchange_;
    std::unique_ptr<rpc::Control> channel_;
    rpc::Header asked_{};
    std::string user_;
    std::optional<proto::door::Token> last_token_;
    UniqueFd layer_;
    std::unique_ptr<loop::Timer> late_;
    Log log_;
};

}  // namespace virtgate::netd::doorman
