// SPDX-License-Identifier: LGPL-2.1-or-later
// gates - all gates that there are, also those that drain, as one list of connections.
//
// A gate counts its connections from 1, and the supervisor counts the starts of gates; both together are a number that no other
// connection gets as long as the supervisor lives: number 7 of the third gate is 3000000007.
//
// Trust:  a gate that was taken over says what it likes about its own connections, and can neither name another gate's nor
//         fill a list alone.
// Limits: k_listed_max connections in a whole list, of which each gate has its share.
// Owns:   the links to the gates.
#pragma once

#include <memory>

#include "netd/steward/link.h"

namespace virtgate::netd::steward {

class Gates {
public:
    static constexpr std::uint64_t k_start = 1'000'000'000;  // more than a gate counts to (netd/gate/roll.h)
    static constexpr std::size_t k_listed_max = 16'384;

    using Connections = std::vector<proto::control::Connection>;

    explicit Gates(loop::Loop& loop) noexcept : loop_(loop) {}

    // The gate `index`, in its start `serial`.
    void adopt(std::uint32_t index, std::uint32_t serial, UniqueFd channel);

    // A part of all connections; see CONNECTIONS in proto/control.x. What does not answer is left out.
    void list(std::uint64_t after, std::function<void(proto::control::ConnectionsRet)> then);
    // All of them, by number.
    void list_all(std::function<void(Connections)> then);
    // None: there is no such connection.
    void find(std::uint64_t id, std::function<void(std::optional<proto::control::Connection>)> then);
    // False: there is none.
    void close(std::uint64_t id, std::string reason, std::function<void(Answer<bool>)> then);
    void count(std::function<void(proto::control::Counters)> then);

    // A doorman of theirs; it counts, and has no connections.
    void adopt_doorman(std::uint32_t serial, UniqueFd channel);
    // What all of them have counted, those among it that have ended.
    void read(std::function<void(metrics::Tally)> then);

private:
    struct Gate {
        Gate(loop::Loop& loop, UniqueFd channel, std::uint32_t number)
            : index(number),
              link(loop, std::move(channel), fmt::format("gate-{}", number), metrics::source::gate) {}
        std::uint32_t index;
        Link link;
    };
    struct Survey;
    using OnPage = std::function<void(Answer<proto::control::ConnectionsRet>)>;
    void ask_page(std::uint32_t serial, std::uint64_t after, OnPage then);
    void survey(const std::shared_ptr<Survey>& survey, std::uint32_t serial, std::uint64_t after,
                std::size_t left);
    [[nodiscard]] Gate* find_gate(std::uint32_t serial) noexcept;
    [[nodiscard]] std::uint64_t next_after(std::uint32_t serial) const noexcept;
    void forget_closed() noexcept;

    loop::Loop& loop_;
    std::map<std::uint32_t, std::unique_ptr<Gate>> gates_;    // by serial
    std::map<std::uint32_t, std::unique_ptr<Link>> doormen_;  // by serial
    metrics::Tally ended_;                                    // counters of those that are gone
};

}  // namespace virtgate::netd::steward
