// SPDX-License-Identifier: LGPL-2.1-or-later
// sasl_link - doorman's channel to virtgate-sasl, which starts a process for each exchange.
//
// Twin: netd/doorman/sasl serves MECHANISMS and EXCHANGE (proto/sasl.x).
//
// Trust:  it holds passwords, but it is told only what it needs, and its answers are decoded like any input.
// Limits: `exchanges` at a time.
// Owns:   the channel. An exchange's own channel belongs to whoever began it.
#pragma once

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
        Exchange(SaslLink& link, UniqueFd channel) noexcept : link_(link), channel_(std::move(channel)) {
            ++link_.exchanges_;
        }
        ~Exchange() { --link_.exchanges_; }
        Exchange(const Exchange&) = delete;
        Exchange& operator=(const Exchange&) = delete;
        // Speaks the program of proto/exchange.x.
        [[nodiscard]] UniqueFd take_channel() noexcept { return std::move(channel_); }

    private:
        SaslLink& link_;
        UniqueFd channel_;
    };
    // Begins an exchange. Error: system's fault: too many, or there is no process to begin it.
    [[nodiscard]] Result<std::unique_ptr<Exchange>> begin(const proto::sasl::ExchangeArgs& client);

private:
    void on_message(rpc::Control::Message& message) noexcept;
    void on_closed(std::string_view why) noexcept;

    loop::Loop& loop_;
    const std::size_t exchanges_max_;
    loop::Target<> ready_;
    Log log_{"sasl"};
    std::unique_ptr<rpc::Control> channel_;
    proto::sasl::MechanismsRet mechanisms_;
    std::size_t exchanges_ = 0;
};

}  // namespace virtgate::netd::doorman
