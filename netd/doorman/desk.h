// SPDX-License-Identifier: LGPL-2.1-or-later
// desk - doorman's side of the channel to one gate: nonces, who may come in, and who has to log in first.
//
// Twins: ask_…() in netd/gate/door; serve_…() here (proto/door.x).
//
// Each client that is refused gives one line in the log with its address, what it presented and the rule that
// it broke; each client that came in gives one with its session and identity.
//
// Trust:  the gate may be taken over. A message that is not a well-formed call of the DOOR program, or that an
//         honest gate would not send in this state, closes its channel and ends; a proof that does not hold gets
//         an error, since an honest gate cannot know what doorman finds.
// Limits: those of nonces.h and broker_link.h; k_visits_max visits, each for `login` milliseconds.
// Owns:   the channel and the visits. A session's descriptor is passed on and closed here.
#pragma once

#include <map>
#include <memory>

#include "libshared/base/log.h"
#include "libshared/rpc/control.h"
#include "netd/doorman/examine.h"
#include "netd/doorman/nonces.h"
#include "netd/doorman/visit.h"

namespace virtgate::netd::doorman {

// What all desks use. `login` is how long a visit may last.
struct DeskTools {
    VisitTools visit;
    const Examiner& examiner;
    proto::config::LoginMode tls, tcp, local;
    Milliseconds login;
};

class Desk final : private VisitOwner {
public:
    static constexpr std::size_t k_visits_max = 8192;
    // Clients of UNIX sockets that wait for the broker.
    static constexpr std::size_t k_local_max = 1024;

    // `on_gone` is called from the loop when the channel is closed; it may destroy the desk.
    Desk(const DeskTools& tools, std::uint32_t gate, UniqueFd channel, loop::Target<std::uint32_t> on_gone);
    ~Desk() override { tools_.visit.broker.forget(this); }
    Desk(const Desk&) = delete;
    Desk& operator=(const Desk&) = delete;

    // A client of a UNIX socket, for this gate. `name`: for logs.
    void receive_local(proto::who::Who who, UniqueFd client, std::string name);

private:
    // An admission that waits for the broker.
    struct Open {
        std::string client;     // "192.0.2.7 port 4711"
        std::string presented;  // escaped
        proto::who::Who who;
        UniqueFd connection;  // of a UNIX socket's client
    };
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view why) noexcept;
    void on_answer(BrokerAnswer& answer) noexcept;
    void on_sweep() noexcept;
    void hang_up(std::string_view why) noexcept;
    void serve_nonces(const rpc::Header& call);
    void serve_admit(const rpc::Header& call, ByteView payload);
    void serve_enter(const rpc::Header& call, ByteView payload);
    void serve_leave(ByteView payload);
    template <class Args>
    void serve_exchange(const rpc::Header& call, ByteView payload, bool (Visit::*serve)(Args));
    [[nodiscard]] bool judge(proto::config::LoginMode mode, std::uint64_t ticket, Open admission);
    void go_in(std::uint64_t ticket, Open admission);
    void log_in(std::uint64_t ticket, Open admission);
    // What a client of a UNIX socket is told; why exactly, which names limits and identities, is for the log.
    static constexpr const char* k_not_allowed =
        "authentication failed: the policy does not let this user in";
    static constexpr const char* k_no_room =
        "the server cannot serve this user now: try again; its log says why";
    void refuse(std::uint64_t ticket, const Open& admission, std::string_view rule,
                const char* told = k_not_allowed);
    template <class Answer>
    void send_reply(const rpc::Header& call, const Answer& answer, std::span<const int> fds);
    void send_arrival(const proto::door::ArriveArgs& arrival, std::span<const int> fds);

    void on_token(Visit& visit, std::optional<proto::door::Token> token) noexcept override;
    void on_granted(Visit& visit, std::optional<proto::door::Token> token, BrokerAnswer& grant,
                    UniqueFd layer) noexcept override;
    void on_refused(Visit& visit, bool again) noexcept override;

    const DeskTools tools_;
    const std::uint32_t gate_;
    const loop::Target<std::uint32_t> on_gone_;
    Log log_;
    Nonces nonces_;
    // By serial of the gate's call; those of UNIX clients have numbers above all serials.
    std::map<std::uint64_t, Open> open_;
    std::uint64_t local_tickets_;
    std::map<std::uint64_t, std::unique_ptr<Visit>> visits_;
    std::uint64_t last_visit_ = 0;
    std::unique_ptr<loop::Timer> sweep_;
    std::unique_ptr<rpc::Control> channel_;
};

}  // namespace virtgate::netd::doorman
