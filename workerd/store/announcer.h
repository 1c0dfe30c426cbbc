// SPDX-License-Identifier: LGPL-2.1-or-later
// announcer - events of pools, to the connections that asked for them.
//
// libvirt has no events of volumes: a pool whose volumes have changed is said to be refreshed.
//
// Limits: a client that does not read its events is ended when k_unread_max bytes wait for it.
// Owns:   the registrations.
#pragma once

#include "libshared/server/server.h"
#include "libshared/server/subscriptions.h"
#include "workerd/store/pool.h"

namespace virtgate::workerd::store {

// The numbers are libvirt's.
enum class Happened : int { defined = 0, undefined = 1, started = 2, stopped = 3, created = 4, deleted = 5 };

class Announcer {
public:
    static constexpr std::size_t k_unread_max = 8U << 20;
    static constexpr int k_lifecycle = 0, k_refresh = 1;  // event ids of libvirt's

    explicit Announcer(server::Server& server) noexcept : server_(server) {}

    [[nodiscard]] server::Subscriptions& subscriptions() noexcept { return subscriptions_; }

    void tell(const Pool& pool, Happened happened) noexcept;
    void tell_refreshed(const Pool& pool) noexcept;

private:
    template <class Message>
    void send(const Pool& pool, int event, std::uint32_t procedure, Message message) noexcept;

    server::Server& server_;
    server::Subscriptions subscriptions_;
};

}  // namespace virtgate::workerd::store
