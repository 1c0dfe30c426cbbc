// SPDX-License-Identifier: LGPL-2.1-or-later
// failures - failed logins of each source, and what they cost.
#include "netd/doorman/failures.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>

namespace virtgate::netd::doorman {

// The entry of `source`, without those whose window is over; end() if there is none.
Failures::Order::iterator Failures::find(const std::string& source) {
    const auto at = entries_.find(source);
    if (at == entries_.end()) return order_.end();
    if (clock_.now() - at->second->began < Milliseconds{limits_.window}) return at->second;
    order_.erase(at->second);
    entries_.erase(at);
    return order_.end();
}

bool Failures::is_blocked(const std::string& source) {
    const auto entry = find(source);
    return entry != order_.end() && entry->count >= limits_.failures;
}

Milliseconds Failures::add(const std::string& source) {
    auto entry = find(source);
    if (entry == order_.end()) {
        if (entries_.size() >= k_sources_max) {
            entries_.erase(order_.front().source);
            order_.pop_front();
        }
        entry = order_.insert(order_.end(), Entry{source, clock_.now(), 0});
        entries_.emplace(source, entry);
    } else {
        order_.splice(order_.end(), order_, entry);
    }
    ++entry->count;
    // Sixteen doublings are more than any delay_max; a longer shift would not be a number any more.
    constexpr std::uint32_t k_doublings_max = 16;
    const std::uint64_t late = std::uint64_t{limits_.delay} << std::min(entry->count - 1, k_doublings_max);
    return Milliseconds{std::min<std::uint64_t>(late, limits_.delay_max)};
}

std::string source_of(const proto::who::Who& who) {
    if (who.local) return fmt::format("uid {}", who.local->uid);
    in6_addr v6{};
    if (inet_pton(AF_INET6, who.source.c_str(), &v6) != 1) return who.source;
    constexpr std::size_t k_network = 8;
    std::fill(std::begin(v6.s6_addr) + k_network, std::end(v6.s6_addr), std::uint8_t{0});
    std::array<char, INET6_ADDRSTRLEN> text;
    return fmt::format("{}/64", inet_ntop(AF_INET6, &v6, text.data(), text.size()));
}

}  // namespace virtgate::netd::doorman
