// SPDX-License-Identifier: LGPL-2.1-or-later
// layer - the security layer of one client, between its TCP connection and its gate.
//
//     client ══ TCP ══▶ decode ──▶ clear side ── gate
//            ◀════════ encode ◀──
//
// Trust:  what comes over TCP is the client's, and libsasl2 decodes it. What comes over the clear side is
//         the gate's.
// Limits: in each direction one piece that was read and not passed on yet, at most 64 KiB; nothing is read
//         meanwhile. When the gate has closed its side, the client has k_patience to take the rest.
// Owns:   neither descriptor.
#pragma once

#include <poll.h>

#include <array>

#include "libshared/base/clock.h"
#include "netd/doorman/sasl/conversation.h"

namespace virtgate::netd::doorman::sasl {

class Layer {
public:
    static constexpr Milliseconds k_patience{10'000};

    // `conversation` has to be complete and to have a layer. `tcp` and `clear` are stream sockets,
    // borrowed; they are made non-blocking.
    Layer(Conversation& conversation, int tcp, int clear)
        : conversation_(conversation), inward_{tcp, clear}, outward_{clear, tcp} {}

    // Serves until either side is gone. Error: peer's fault, system's fault.
    Done run();

private:
    // One direction. Its end is passed on as a half-close.
    struct Direction {
        int from, to;
        std::string_view waiting{};  // what was converted and is not written yet; libsasl2 owns it
        bool ended = false;          // `from` has no more
        bool shut = false;           // and `to` knows
    };
    using Convert = Result<std::string_view> (Conversation::*)(std::string_view);
    Done fill(Direction& direction, Convert convert, std::size_t limit);
    // False if `to` does not take anything any more.
    bool drain(Direction& direction) noexcept;
    static short wants(const Direction& reads, const Direction& writes) noexcept;
    [[nodiscard]] int patience() const noexcept;

    Conversation& conversation_;
    Direction inward_, outward_;
    bool gate_gone_ = false;
    Instant deadline_{};
    std::array<char, 65536> buffer_;
};

}  // namespace virtgate::netd::doorman::sasl
