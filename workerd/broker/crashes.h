// SPDX-License-Identifier: LGPL-2.1-or-later
// crashes - the identities whose workers crash, and for how long nobody is served as one of them.
//
// A worker that crashes takes the sessions of its identity along and nobody else's. One crash may be bad
// luck. A second one within k_window says that a client of that identity has found a request that kills its
// worker, and whoever finds one will look for the next: the identity is refused for k_refusal_min, then twice
// as long each time, up to k_refusal_max. After a refusal it is on probation for as long again as k_window:
// one more crash is enough. Who had none for k_refusal_max starts anew.
//
// Limits: one record for each identity that crashed within k_refusal_max; the policy bounds how many these
//         are.
// Owns:   the records.
#pragma once

#include <map>
#include <string>

#include "libshared/base/clock.h"

namespace virtgate::workerd::broker {

class Crashes {
public:
    static constexpr Milliseconds k_window{60'000};
    static constexpr Milliseconds k_refusal_min{30'000};
    static constexpr Milliseconds k_refusal_max{600'000};

    // `clock` has to outlive it.
    explicit Crashes(const Clock& clock) noexcept : clock_(clock) {}

    // The worker of `identity` crashed. Returns for how long the identity is refused because of that; 0: it
    // is not.
    Milliseconds add(const std::string& identity);

    // How long `identity` is still refused, rounded up; 0: it is not.
    [[nodiscard]] Milliseconds refused_for(const std::string& identity) const;

private:
    struct Record {
        Instant last{};     // crash, or end of a refusal: what the next crash may be near to
        Instant refused{};  // until then
        Milliseconds next{k_refusal_min};
    };

    const Clock& clock_;
    std::map<std::string, Record, std::less<>> records_;
};

}  // namespace virtgate::workerd::broker
