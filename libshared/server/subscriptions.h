// SPDX-License-Identifier: LGPL-2.1-or-later
// subscriptions - which client wants which events, of all objects or of one.
//
//     id = subscriptions.add(client.id(), event, uuid);
//     subscriptions.for_each(event, uuid, [&](ClientId client, int id) { … server.find(client)->send(frame) … });
//
// Source: as in libvirt's protocol, the number that a client gets is its own: another client's numbers do not matter.
// Limits: k_subscriptions_max for each client. A client that does not read its events is the sender's to end (Client::unsent()).
// Owns:   the numbers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace virtgate::server {

class Subscriptions {
public:
    static constexpr std::size_t k_subscriptions_max = 64;
    using ClientId = std::uint64_t;
    using Object = std::array<std::byte, 16>;  // a uuid

    // The new subscription's number; no value if the client has too many. No `object`: of all.
    std::optional<int> add(ClientId client, int event, std::optional<Object> object);
    // False if the client has none of that number.
    bool remove(ClientId client, int number) noexcept;
    // The client is gone.
    void forget(ClientId client) noexcept { clients_.erase(client); }

    // visit(ClientId, number) for each subscription that the event of `object` is for. It changes nothing here.
    template <class Visit>
    void for_each(int event, const Object& object, Visit&& visit) const {
        for (const auto& [client, list] : clients_)
            for (const Entry& entry : list.entries)
                if (entry.event == event && (!entry.object || *entry.object == object))
                    visit(client, entry.number);
    }

private:
    struct Entry {
        int number = 0;
        int event = 0;
        std::optional<Object> object{};
    };
    struct List {
        int next = 0;
        std::vector<Entry> entries{};
    };
    std::map<ClientId, List> clients_;
};

}  // namespace virtgate::server
