// SPDX-License-Identifier: LGPL-2.1-or-later
// broker_link - doorman's connection to the broker, which opens sessions.
//
// Twin: workerd/broker serves OPEN_SESSION and REVOKE (proto/broker.x).
//
//     down ──a question──▶ (connects) ──▶ up ──the broker ends──▶ down
//       ▲                      │ fails: tries again after 50 ms … 2 s while somebody waits
//       └──────────────────────┘
//
// Questions asked while it is down wait for it. Those that were on their way when the broker ended are
// refused: the broker may or may not have opened the session, and closing its descriptor has ended it.
//
// Trust:  the broker is trusted with the decision. What it answers is checked for form.
// Limits: k_waiting_max questions; each is refused after k_patience.
// Owns:   the connection. A session's descriptor is given to whoever asked.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libshared/base/log.h"
#include "libshared/rpc/control.h"
#include "proto/broker.h"

namespace virtgate::netd::doorman {

// The broker's answer to the question `ticket`. Valid during the callback.
struct BrokerAnswer {
    std::uint64_t ticket = 0;
    const proto::who::SessionGrant* grant = nullptr;  // null: refused
    UniqueFd session;                                 // with a grant
    std::string_view refusal;                         // otherwise: why
    int code = 0;                                     // and the broker's code
};

class BrokerLink {
public:
    using OnAnswer = loop::Target<BrokerAnswer&>;
    static constexpr std::size_t k_waiting_max = 1024;
    static constexpr Milliseconds k_patience{20'000};
    static constexpr Milliseconds k_retry_min{50};
    static constexpr Milliseconds k_retry_max{2'000};

    // `path`: of the broker's socket. Nothing is connected before somebody asks.
    BrokerLink(loop::Loop& loop, std::string path);

    // Asks for a session of `who`; `answer` is called later from the loop, exactly once, with `ticket`,
    // unless the asker is forgotten before. Error: system's fault, if too many questions wait already.
    Done ask_open_session(const proto::who::Who& who, std::uint64_t ticket, OnAnswer answer);

    // Tells the broker that these certificates are revoked, so that their sessions end. What cannot be told is
    // logged: a broker that is not there has no sessions.
    void report_revoked(const std::vector<proto::who::CertificateId>& certificates);

    // Forgets the questions whose answers go to `asker` (the object of their target): their sessions are
    // closed when they come.
    void forget(const void* asker) noexcept;

private:
    struct Question {
        proto::broker::Procedure procedure{};
        OnAnswer answer;  // its object is null when nobody waits
        std::uint64_t ticket = 0;
        ByteVector payload;  // empty once sent
        Instant asked{};
    };
    void connect() noexcept;
    void send_waiting() noexcept;
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view why) noexcept;
    void on_retry() noexcept;
    void on_sweep() noexcept;
    void answer(const Question& question, const proto::who::SessionGrant* grant, UniqueFd session,
                std::string_view refusal, int code) noexcept;
    void add(Question question);

    loop::Loop& loop_;
    std::string path_;
    Log log_{"broker"};
    std::unique_ptr<rpc::Control> control_;
    std::map<std::uint32_t, Question> questions_;  // by serial
    std::uint32_t serial_ = 0;
    Milliseconds retry_ = k_retry_min;
    std::unique_ptr<loop::Timer> retry_timer_, sweep_timer_;
};

}  // namespace virtgate::netd::doorman
