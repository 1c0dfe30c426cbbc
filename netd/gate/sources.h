// SPDX-License-Identifier: LGPL-2.1-or-later
// sources - how many connections come from one place.
//
// A source is an IPv4 address, the /64 of an IPv6 address (a host has all of that), or a user at the other end of a
// UNIX socket. Each connection holds a Place as long as it lives.
//
// Trust:  whoever sends from many addresses has many sources; the gate's total is limited elsewhere.
// Limits: `connections` for each source, of which `arrivals` are not let in yet. One entry for each source that has
//         a connection now.
// Owns:   the counts. Used by both threads of a gate.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include "libshared/base/bytes.h"

namespace virtgate::netd::gate {

class Sources {
public:
    // What is counted together.
    using Key = std::array<std::byte, 16>;
    [[nodiscard]] static Key of_address(const sockaddr_storage& address) noexcept;
    [[nodiscard]] static Key of_user(std::uint32_t uid) noexcept;

    Sources(std::size_t connections, std::size_t arrivals) noexcept
        : connections_(connections), arrivals_(arrivals) {}

    // One connection. Frees its place when it is destroyed, in any thread.
    class Place {
    public:
        Place() = default;
        Place(Place&& other) noexcept
            : sources_(std::exchange(other.sources_, nullptr)),
              key_(other.key_),
              arriving_(other.arriving_) {}
        Place& operator=(Place&& other) noexcept;
        ~Place() { leave(); }
        // It is let in.
        void settle() noexcept;

    private:
        friend class Sources;
        Place(Sources& sources, const Key& key) noexcept : sources_(&sources), key_(key) {}
        void leave() noexcept;
        Sources* sources_ = nullptr;
        Key key_{};
        bool arriving_ = true;
    };

    // A place for one more connection of `key`; none if it has as many as it may.
    [[nodiscard]] std::optional<Place> take(const Key& key);

private:
    struct Count {
        std::size_t connections = 0, arrivals = 0;
    };
    // Keys come from the network: their order in the table must not be the sender's choice.
    struct Hash {
        std::uint64_t seed[2];
        std::size_t operator()(const Key& key) const noexcept;
    };
    static Hash make_hash() noexcept;

    const std::size_t connections_, arrivals_;
    std::mutex mutex_;
    std::unordered_map<Key, Count, Hash> counts_{0, make_hash()};
};

}  // namespace virtgate::netd::gate
