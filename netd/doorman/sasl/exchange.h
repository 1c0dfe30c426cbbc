// SPDX-License-Identifier: LGPL-2.1-or-later
// exchange - the process that runs one SASL exchange, and its security layer if it gets one.
//
// Twins: BEGIN and GO_ON come from doorman (proto/exchange.x). The connection of a client whose mechanism
//        encrypts comes from its gate (proto/sasl.x).
//
//     waiting ── BEGIN ──▶ going on ── GO_ON … ──▶ complete ──▶ (layer) ──▶ over
//        └─ anything else, refused, too late, channel closed ──▶ over
//
// Trust:  tokens are the client's; everything else on the channel is doorman's. Whatever is out of order or
//         malformed ends the process: it has served one client and has nothing to lose.
// Limits: one exchange, in exchange_timeout, and as long again until its connection comes; a library that
//         hangs is killed two seconds later.
// Owns:   the channel, and what comes after it.
#pragma once

#include <optional>

#include "libshared/base/clock.h"
#include "libshared/base/log.h"
#include "libshared/channel/packet.h"
#include "libshared/rpc/header.h"
#include "netd/doorman/sasl/conversation.h"
#include "proto/exchange.h"

namespace virtgate::netd::doorman::sasl {

class Exchange {
public:
    // `channel`: SOCK_SEQPACKET. `library` has to live longer.
    Exchange(const Library& library, proto::sasl::ExchangeArgs terms, UniqueFd channel);

    // Serves until it is over.
    void run();

private:
    struct Call {
        rpc::Header header;
        std::optional<proto::exchange::BeginArgs> begin;
        std::optional<proto::exchange::GoOnArgs> go_on;
    };
    enum class Next : unsigned char { go_on, layer, over };

    void start_clock();
    // Waits until `fd` is ready for `events`, or the time is up: then false.
    [[nodiscard]] bool wait(int fd, short events) const;
    [[nodiscard]] std::optional<Call> receive_call();
    // The first call has to be BEGIN, the others GO_ON; anything else is nothing.
    [[nodiscard]] static std::optional<Call> read_call(ByteView frame, bool first);
    [[nodiscard]] Next answer(Conversation& conversation, const Call& call);
    [[nodiscard]] bool send(const rpc::Header& header, ByteView payload, int fd = -1) const;
    void serve_layer(Conversation& conversation);

    const Library& library_;
    proto::sasl::ExchangeArgs terms_;
    UniqueFd channel_, clear_;
    Instant deadline_{};
    bool begun_ = false;
    Log log_;
};

}  // namespace virtgate::netd::doorman::sasl
