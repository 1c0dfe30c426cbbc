// SPDX-License-Identifier: LGPL-2.1-or-later
// nonces - random values that one gate may use as a TLS server's random, each once.
//
// A handshake that contains one of them was made after it was handed out, and no second session can be had
// with it.
//
// Trust:  the gate may be taken over; it can waste its own nonces only.
// Limits: the last k_kept that were handed out and not spent; a gate that lets more handshakes fail than that
//         in the time of one handshake loses the oldest. At the few thousand handshakes a second that a core
//         can do, this is more than the ten seconds a handshake may take.
// Owns:   the values, 32 bytes each.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <unordered_set>
#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/base/result.h"

namespace virtgate::netd::doorman {

class Nonces {
public:
    using Nonce = std::array<std::byte, 32>;
    static constexpr std::size_t k_kept = 16384;

    // `count` fresh ones. Error: system's fault, if the kernel gives no random bytes.
    Result<std::vector<Nonce>> hand_out(std::size_t count);

    // True if `random` was handed out, is still kept and was not spent before. It is spent now.
    [[nodiscard]] bool spend(ByteView random);

    [[nodiscard]] std::size_t outstanding() const noexcept { return live_.size(); }

private:
    // The values are random, so their first bytes are as good as a hash of them; nobody else chooses them.
    struct FirstBytes {
        std::size_t operator()(const Nonce& nonce) const noexcept { return load_be64(nonce.data()); }
    };
    std::unordered_set<Nonce, FirstBytes> live_;
    std::deque<Nonce> order_;  // as handed out; those spent are still in here
};

}  // namespace virtgate::netd::doorman
