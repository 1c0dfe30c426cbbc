// SPDX-License-Identifier: LGPL-2.1-or-later
// sasl_link - doorman's channel to virtgate-sasl, which starts a process for each exchange.
#include "netd/doorman/sasl_link.h"

#include <algorithm>
#include <map>
#include <utility>

#include "proto/codec.h"

namespace virtgate::netd::doorman {

namespace sasl = proto::sasl;

namespace {

// The only call that is ever made.
constexpr std::uint32_t k_serial = 1;

rpc::Header mechanisms_call() noexcept {
    return rpc::make_call(sasl::k_program, sasl::k_version, sasl::Procedure::mechanisms, k_serial);
}

}  // namespace

void SaslLink::adopt(UniqueFd channel) {
    channel_ =
        std::make_unique<rpc::Control>(loop_, std::move(channel), 0, loop::to<&SaslLink::on_message>(*this),
                                       loop::to<&SaslLink::on_closed>(*this));
    if (const auto sent = channel_->send(mechanisms_call(), {}); !sent) log_.error("{}", sent.error().text);
}

void SaslLink::on_message(rpc::Control::Message& message) noexcept {
    auto answer = proto::decode<sasl::MechanismsRet>(message.payload);
    if (message.header != rpc::reply_to(mechanisms_call()) || !answer)
        return log_.error("virtgate-sasl sent something that is no answer");
    mechanisms_ = std::move(*answer);
    ready_();
}

void SaslLink::on_closed(std::string_view why) noexcept {
    log_.error("the channel to virtgate-sasl is closed: {}", why);
    channel_.reset();
}

// Ends the one that has to go first: of that gate, or of all. False if they all wait for virtgate-sasl and
// not for their clients.
bool SaslLink::oust(std::optional<std::uint32_t> gate) {
    std::map<std::string_view, std::size_t> of_source;
    std::map<std::uint32_t, std::size_t> of_gate;
    for (const Exchange* each : exchanges_) {
        ++of_source[each->origin_.source];
        ++of_gate[each->origin_.gate];
    }
    const auto held = [&](const Exchange& each) {
        return std::pair{of_source[each.origin_.source], of_gate[each.origin_.gate]};
    };
    Exchange* worst = nullptr;
    for (Exchange* each : exchanges_) {
        if (!each->waits_ || (gate && each->origin_.gate != *gate)) continue;
        if (worst == nullptr || held(*each) > held(*worst)) worst = each;
    }
    if (worst == nullptr) return false;
    worst->on_ousted_();
    return true;
}

// Room for one more of that gate.
bool SaslLink::make_room(std::uint32_t gate) {
    const auto mine = static_cast<std::size_t>(
        std::count_if(exchanges_.begin(), exchanges_.end(),
                      [&](const Exchange* each) { return each->origin_.gate == gate; }));
    const std::size_t share = gates_ > 1 ? (exchanges_max_ + 1) / 2 : exchanges_max_;
    if (mine >= share) return oust(gate);
    return exchanges_.size() < exchanges_max_ || oust(std::nullopt);
}

Result<std::unique_ptr<SaslLink::Exchange>> SaslLink::begin(const sasl::ExchangeArgs& client, Origin origin,
                                                            loop::Target<> on_ousted) {
    if (!channel_) return system_fault(0, "no SASL process runs");
    if (!make_room(origin.gate)) return system_fault(0, "too many SASL exchanges at a time");
    auto pair = make_channel_pair();
    if (!pair) return tl::unexpected(pair.error());
    const auto payload = proto::encode(client);
    if (!payload) return system_fault(0, "a client cannot be described to virtgate-sasl");
    const int theirs = pair->second.get();
    const auto message = rpc::make_message(sasl::k_program, sasl::k_version, sasl::Procedure::exchange);
    if (auto sent = channel_->send(message, *payload, std::span(&theirs, 1)); !sent)
        return tl::unexpected(sent.error());
    return std::make_unique<Exchange>(*this, std::move(pair->first), std::move(origin), on_ousted);
}

}  // namespace virtgate::netd::doorman
