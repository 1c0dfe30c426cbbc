// SPDX-License-Identifier: LGPL-2.1-or-later
// failures - failed logins of each source, and what they cost.
//
// A failed login is answered late: by `delay` the first time, twice that the next time, up to `delay_max`. A source
// with `failures` of them within `window` is not listened to until the window is over. A login that succeeds changes
// nothing: who has one good password may still be trying others.
//
// Trust:  the source of a network client is the gate's word.
// Limits: k_sources_max sources; the one that has not failed for longest is forgotten.
// Owns:   the counts.
#pragma once

#include <list>
#include <string>
#include <unordered_map>

#include "libshared/base/clock.h"
#include "proto/config.h"
#include "proto/who.h"

namespace virtgate::netd::doorman {

class Failures {
public:
    static constexpr std::size_t k_sources_max = 65536;

    // `clock` has to outlive it.
    Failures(const Clock& clock, const proto::config::LoginLimits& limits) noexcept
        : clock_(clock), limits_(limits) {}

    // True if nothing of `source` is looked at any more for now.
    [[nodiscard]] bool is_blocked(const std::string& source);

    // Counts one failed login of `source`. Returns how late it has to be answered.
    [[nodiscard]] Milliseconds add(const std::string& source);

    [[nodiscard]] std::size_t sources() const noexcept { return entries_.size(); }

private:
    struct Entry {
        std::string source;
        Instant began;
        std::uint32_t count = 0;
    };
    using Order = std::list<Entry>;  // the latest failure is the last
    Order::iterator find(const std::string& source);

    const Clock& clock_;
    const proto::config::LoginLimits limits_;
    Order order_;
    std::unordered_map<std::string, Order::iterator> entries_;
};

// What failures are counted by: the address, the /64 of an IPv6 address, or the user of a UNIX socket.
[[nodiscard]] std::string source_of(const proto::who::Who& who);

}  // namespace virtgate::netd::doorman
