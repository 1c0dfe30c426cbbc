// SPDX-License-Identifier: LGPL-2.1-or-later
// subscriptions - which client wants which events.
#include "libshared/server/subscriptions.h"

namespace virtgate::server {

std::optional<int> Subscriptions::add(ClientId client, int event, std::optional<Object> object) {
    List& list = clients_[client];
    if (list.entries.size() >= k_subscriptions_max) return std::nullopt;
    list.entries.push_back({.number = list.next++, .event = event, .object = object});
    return list.entries.back().number;
}

bool Subscriptions::remove(ClientId client, int number) noexcept {
    const auto found = clients_.find(client);
    return found != clients_.end() && std::erase_if(found->second.entries, [&](const Entry& entry) {
                                          return entry.number == number;
                                      }) != 0;
}

}  // namespace virtgate::server
