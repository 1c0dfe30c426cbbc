// SPDX-License-Identifier: LGPL-2.1-or-later
// room - how much may be on its way through a socket between two of our processes that carries streams.
//
// A socket that is full counts as writable again when three quarters of it have left. With the 208 KiB that are usual, that is less
// than one packet (packet.h): whoever writes wakes up when nothing is left, and both sides wait for each other in turns. With
// twice as much they work at the same time.
//
// Limits: k_room bytes, which the kernel counts double; less where net.core.wmem_max is less. Memory is taken for what is there.
#pragma once

#include <sys/socket.h>

namespace virtgate::channel {

inline constexpr int k_room = 1 << 19;

// For what is written to `socket`. Where the system refuses, there is only less room.
inline void make_room(int socket) noexcept {
    static_cast<void>(setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &k_room, sizeof k_room));
}

}  // namespace virtgate::channel
