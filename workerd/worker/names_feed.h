// SPDX-License-Identifier: LGPL-2.1-or-later
// names_feed - what is said on the connection that keeps a NamesCache true.
//
// Asked for are the lifecycle events of all domains, networks, storage pools and secrets, and to be told if the daemon
// itself loses the one behind it. A kind whose events the daemon refuses is never kept; network filters have no events.
// The name of an object goes when one of these is announced of its uuid:
//   defined, undefined (a renamed domain is both), started, stopped, crashed; a pool that was made or deleted; and
//   what is not known. A domain that is suspended, resumed, shut down or asleep is still called what it was called.
//
// Pure: it makes frames and reads frames, and knows nothing of sockets.
//
// Trust:  the daemon is believed, but its frames are decoded like anybody's. After one that cannot be, nobody knows
//         what was announced.
// Limits: frames of k_frame_max; what is longer is a flaw.
// Owns:   nothing.
// Source: event numbers are those of libvirt's public headers (virDomainEventType and the like).
#pragma once

#include <string_view>

#include "libshared/rpc/header.h"
#include "workerd/worker/names_cache.h"

namespace virtgate::workerd::worker {

class NamesFeed {
public:
    // An event has one name in it.
    static constexpr std::size_t k_frame_max = 65'536;

    // `cache` has to outlive it.
    explicit NamesFeed(NamesCache& cache) noexcept : cache_(cache) {}

    // Begins with an open connection on which nothing was asked yet: the calls to send, as whole frames.
    [[nodiscard]] ByteVector start();

    // True if a frame with that header is for take(); all others are of no interest.
    [[nodiscard]] static bool wants(const rpc::Header& header) noexcept;

    // Takes a frame that wants() named: its header and payload. Returns what is wrong, as static text: then nothing may
    // be believed any more. Empty if nothing is.
    [[nodiscard]] std::string_view take(const rpc::Header& header, ByteView payload);

    // True if every call of start() was answered.
    [[nodiscard]] bool is_settled() const noexcept { return unanswered_ == 0; }

private:
    [[nodiscard]] std::string_view take_reply(const rpc::Header& header, ByteView payload);
    [[nodiscard]] std::string_view take_event(const rpc::Header& header, ByteView payload);

    NamesCache& cache_;
    unsigned unanswered_ = 0;  // a bit for each row of the table in names_feed.cc
};

}  // namespace virtgate::workerd::worker
