// SPDX-License-Identifier: LGPL-2.1-or-later
// sasl_link - doorman's channel to virtgate-sasl, which starts a process for each exchange.
//
// Twin: netd/doorman/sasl serves MECHANISMS and EXCHANGE (proto/sasl.x).
//
// Trust:  it holds passwords, but it is told only what it needs, and its answers are decoded like any input.
// Limits: `exchanges` at a time. When there are as many, a new one takes the place of an old one that waits for its
//         client: of the oldest of the source that holds most. So nobody keeps others out by waiting.
// Owns:   the channel. An exchange's own channel belongs to whoever began it.
#pragma once

#include <list>
#include <memory>
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

    // One exchange; counts as one of `exchanges` as long as it lives.
    class Exchange {
    public:
        Exchange(SaslLink& link, UniqueFd channel, std::string source, loop::Target<> on_ousted)
            : link_(link),
              channel_(std::move(channel)),
              source_(std::move(source)),
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
        const std::string source_;
        const loop::Target<> on_ousted_;
        bool waits_ = false;
        const std::list<Exchange*>::iterator place_;
    };
    // Begins an exchange for a client of `source` (see source_of()). `on_ousted` has to destroy it; it is called only
    // while the exchange waits for its client.
    // Error: system's fault: too many, or there is no process to begin it.
    [[nodiscard]] Result<std::unique_ptr<Exchange>> begin(const proto::sasl::ExchangeArgs& client,
                                                          std::string source, loop::Target<> on_ousted);

private:
    [[nodiscard]] bool oust();
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view why) noexcept;

    loop::Loop& loop_;
    const std::size_t exchanges_max_;
    loop::Target<> ready_;
    Log log_{"sasl"};
    std::unique_ptr<rpc::Control> channel_;
    proto::sasl::MechanismsRet mechanisms_;
    std::list<Exchange*> exchanges_;  // the oldest first
};

}  // namespace virtgate::netd::doorman
