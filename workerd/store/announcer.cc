// SPDX-License-Identifier: LGPL-2.1-or-later
// announcer - events of pools, to the connections that asked for them.
#include "workerd/store/announcer.h"

#include "proto/codec.h"
#include "proto/remote.h"

namespace virtgate::workerd::store {

namespace remote = proto::remote;

namespace {

// libvirt's daemons send all events with this serial.
constexpr std::uint32_t k_event_serial = 1;

}  // namespace

template <class Message>
void Announcer::send(const Pool& pool, int event, std::uint32_t procedure, Message message) noexcept {
    message.pool = {.name = pool.name, .uuid = pool.uuid};
    subscriptions_.for_each(event, pool.uuid, [&](server::ClientId id, int number) {
        server::Client* const client = server_.find(id);
        if (client == nullptr) return;
        message.callback_id = number;
        const auto payload = proto::encode(message);
        require(payload.has_value(), "an event does not encode");
        client->send(
            rpc::make_frame(rpc::make_message(remote::k_program, remote::k_version,
                                              static_cast<remote::Procedure>(procedure), k_event_serial),
                            *payload));
        if (client->unsent() > k_unread_max) client->close("it does not read its events");
    });
}

void Announcer::tell(const Pool& pool, Happened happened) noexcept {
    remote::StoragePoolEventLifecycleMsg message;
    message.event = static_cast<int>(happened);
    send(pool, k_lifecycle, static_cast<std::uint32_t>(remote::Procedure::storage_pool_event_lifecycle),
         std::move(message));
}

void Announcer::tell_refreshed(const Pool& pool) noexcept {
    send(pool, k_refresh, static_cast<std::uint32_t>(remote::Procedure::storage_pool_event_refresh),
         remote::StoragePoolEventRefreshMsg{});
}

}  // namespace virtgate::workerd::store
