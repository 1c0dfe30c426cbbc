// SPDX-License-Identifier: LGPL-2.1-or-later
// sources - how many connections come from one place.
#include "netd/gate/sources.h"

#include <netinet/in.h>
#include <sys/random.h>

#include <cstring>

namespace virtgate::netd::gate {

namespace {

constexpr std::size_t k_network_bytes = 8;  // of an IPv6 address: the /64
// First bytes that no IPv6 address of a client has.
constexpr std::byte k_of_v4{0xfe}, k_of_user{0xff};

}  // namespace

Sources::Key Sources::of_address(const sockaddr_storage& address) noexcept {
    Key key{};
    if (address.ss_family == AF_INET6) {
        sockaddr_in6 v6;
        std::memcpy(&v6, &address, sizeof v6);
        if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
            std::memcpy(key.data(), &v6.sin6_addr, k_network_bytes);
            return key;
        }
        key[0] = k_of_v4;
        std::memcpy(key.data() + 1, &v6.sin6_addr.s6_addr[12], sizeof(in_addr));
    } else if (address.ss_family == AF_INET) {
        sockaddr_in v4;
        std::memcpy(&v4, &address, sizeof v4);
        key[0] = k_of_v4;
        std::memcpy(key.data() + 1, &v4.sin_addr, sizeof v4.sin_addr);
    }
    return key;
}

Sources::Key Sources::of_user(std::uint32_t uid) noexcept {
    Key key{k_of_user};
    store_be32(key.data() + 1, uid);
    return key;
}

Sources::Hash Sources::make_hash() noexcept {
    Hash hash{{0x9e3779b97f4a7c15U, 0xbf58476d1ce4e5b9U}};
    // Without random bytes it is a hash all the same.
    static_cast<void>(!getrandom(hash.seed, sizeof hash.seed, 0));
    return hash;
}

std::size_t Sources::Hash::operator()(const Key& key) const noexcept {
    // A multiply-xor mix of both halves with secret seeds; far from cryptographic, but not to be aimed at blindly.
    constexpr std::uint64_t k_mix = 0xff51afd7ed558ccdU;
    std::uint64_t value = (load_be64(key.data()) ^ seed[0]) * k_mix;
    value = ((value ^ (value >> 32)) + load_be64(key.data() + 8) + seed[1]) * k_mix;
    return static_cast<std::size_t>(value ^ (value >> 29));
}

std::optional<Sources::Place> Sources::take(const Key& key) {
    const std::lock_guard lock(mutex_);
    Count& count = counts_[key];
    if (count.connections >= connections_ || count.arrivals >= arrivals_) {
        if (count.connections == 0) counts_.erase(key);
        return std::nullopt;
    }
    ++count.connections;
    ++count.arrivals;
    return Place(*this, key);
}

Sources::Place& Sources::Place::operator=(Place&& other) noexcept {
    if (this != &other) {
        leave();
        sources_ = std::exchange(other.sources_, nullptr);
        key_ = other.key_;
        arriving_ = other.arriving_;
    }
    return *this;
}

void Sources::Place::settle() noexcept {
    if (sources_ == nullptr || !std::exchange(arriving_, false)) return;
    const std::lock_guard lock(sources_->mutex_);
    --sources_->counts_.find(key_)->second.arrivals;
}

void Sources::Place::leave() noexcept {
    if (sources_ == nullptr) return;
    const std::lock_guard lock(sources_->mutex_);
    const auto at = sources_->counts_.find(key_);
    if (arriving_) --at->second.arrivals;
    if (--at->second.connections == 0) sources_->counts_.erase(at);
    sources_ = nullptr;
}

}  // namespace virtgate::netd::gate
