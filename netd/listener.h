// SPDX-License-Identifier: LGPL-2.1-or-later
// listener - the TCP socket that all gates accept from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libshared/base/fd.h"

namespace virtgate::netd {

struct Listener {
    UniqueFd socket;
    std::string name;        // "[::]:16514", for people
    std::uint16_t port = 0;  // the one in use
    bool local = false;      // only this machine can reach it
};

// True for numeric IPv4 and IPv6 addresses and "localhost". Other names are not looked up: what a daemon
// listens on must not depend on a resolver.
[[nodiscard]] bool is_listen_address(std::string_view address);

// True for one that only this machine can reach.
[[nodiscard]] bool is_loopback_address(std::string_view address);

// Listens on `address` and `port` (0: any free one); non-blocking, close-on-exec.
//   "::"         every address of the machine, IPv4 too (IPv4 only where the kernel has no IPv6)
//   "localhost"  the loopback interface only, 127.0.0.1 and ::1 on the one socket
// Error: system's fault, for example if the port is in use.
Result<Listener> open_listener(const std::string& address, std::uint16_t port);

// One of `socket`, which listens already. Error: system's fault.
Result<Listener> adopt_listener(UniqueFd socket);

}  // namespace virtgate::netd
