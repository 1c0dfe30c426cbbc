// SPDX-License-Identifier: LGPL-2.1-or-later url - the address of one of etcd's servers, taken apart: for who
// reads the configuration, and for who connects.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace virtgate::lockd::etcd {

struct Url {
    std::string host{};  // without brackets
    std::uint16_t port = 0;
    bool is_numeric = false;  // the host is an address
};

// Of "http://HOST:PORT" or "https://HOST:PORT". None if it is something else.
[[nodiscard]] std::optional<Url> parse_url(std::string_view url);

}  // namespace virtgate::lockd::etcd
