// SPDX-License-Identifier: LGPL-2.1-or-later
// sasl_link - doorman's channel to virtgate-sasl, which starts a process for each exchange.
//
// Twin: netd/doorman/sasl serves MECHANISMS and EXCHANGE (proto/sasl.x).
//
// Trust:  it holds passwords, but it is told only what it needs, and its answers are decoded like any input.
// Limits: `exchanges` at a time. When there are as many, a new one takes the place of an old one that waits
//         for its client: of the oldest of the source that holds most. So nobody keeps others out by waiting.
//         Where there are several gates, one of them has at most half of the places: sources are its word,
//         and it may have been taken over.
// Owns:   the channel. An exchange's own channel belongs to whoever began it.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <string>

#include "libshared/base/log.h"
#include "libshared/rpc/control.h"
#include "proto/sasl.h"

namespace virtgate::netd::doorman {

class SaslLink {
public:
    // `ready` is called each time when a process has said which mechanisms there are.
    SaslLink(loop::Loop& loop, std::size_t exchanges, loop::Target<> ready) noexcept
        : loop_(loop), exchanges_max_(exchanges), ready_(ready) {}

    // Uses `channel` from now on.
    void adopt(UniqueFd channel);

    // The mechanisms that there are, for clients with and without encryption below; best first.
    [[nodiscard]] const std::vector<std::string>& mechanisms(bool needs_layer) const noexcept {
        return needs_layer ? mechanisms_.with_layer : mechanisms_.below_encryption;
    }

    // Where a client comes from.
    struct Origin {
        std::string source;  // see source_of()
        std::uint32_t gate = 0;
    };

    // One exchange; counts as one of `exchanges` as long as it lives.
    class Exchange {
    public:
        Exchange(SaslLink& link, UniqueFd channel, Origin origin, loop::Target<> on_ousted)
            : link_(link),
              channel_(std::move(channel)),
              origin_(std::move(origin)),
              on_ousted_(on_ousted),
              place_(link.exchanges_.insert(link.exchanges_.end(), this)) {}
        ~Exchange() { link_.exchanges_.erase(place_); }
        Exchange(const Exchange&) = delete;
        Exchange& operator=(const Exchange&) = delete;
        // Speaks the program of proto/exchange.x.
        [[nodiscard]] UniqueFd take_channel() noexcept { return std::move(channel_); }
        // Whether it is the client's turn; at first it is not.
        void set_waiting(bool waits) noexcept { waits_ = waits; }

    private:
        friend class SaslLink;
        SaslLink& link_;
        UniqueFd channel_;
        const Origin origin_;
        const loop::Target<> on_ousted_;
        bool waits_ = false;
        const std::list<Exchange*>::iterator place_;
    };
    // How many gates there are now.
    void set_gates(std::size_t gates) noexcept { gates_ = gates; }

    // Begins an exchange for a client from there. `on_ousted` has to destroy it; it is called only while the
    // exchange waits for its client.
    // Error: system's fault: too many, or there is no process to begin it.
    [[nodiscard]] Result<std::unique_ptr<Exchange>> begin(const proto::sasl::ExchangeArgs& client,
                                                          Origin origin, loop::Target<> on_ousted);

private:
    [[nodiscard]] bool make_room(std::uint32_t gate);
    [[nodiscard]] bool oust(std::optional<std::uint32_t> gate);
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view why) noexcept;

    loop::Loop& loop_;
    const std::size_t exchanges_max_;
    std::size_t gates_ = 1;
    loop::Target<> ready_;
    Log log_{"sasl"};
    std::unique_ptr<rpc::Control> channel_;
    proto::sasl::MechanismsRet mechanisms_;
    std::list<Exchange*> exchanges_;  // the oldest first
};

}  // namespace virtgate::netd::doorman
