// SPDX-License-Identifier: LGPL-2.1-or-later
// notify - tell the service manager how this daemon is doing, and leave descriptors with it.
//
// Source: sd_notify(3): a datagram of NAME=value lines to the UNIX socket that NOTIFY_SOCKET names; "@" in
//         front means an abstract socket. Used by systemd, and by `virtgate up` in its place.
#pragma once

#include <string>
#include <string_view>

#include "libshared/base/fd.h"

namespace virtgate::spawn {

// Sends `state`, for example "READY=1\nSTATUS=serving port 16514". Without NOTIFY_SOCKET nothing happens.
// Error: system's fault, if the socket is named but cannot be reached.
Done notify(std::string_view state);

// A non-blocking socket that is connected to the service manager's; empty without NOTIFY_SOCKET. What is sent through
// it arrives in order. Error: as above.
Result<UniqueFd> connect_notify();

// Sends `state` through `socket` (of connect_notify()), with a copy of `fd` unless that is negative. False: the
// manager's queue is full, nothing was sent; `socket` becomes ready for writing when there is room. What was sent is the
// manager's: a descriptor stays open until it has dealt with it, whether this process lives or not.
// Error: system's fault; ETOOMANYREFS if too many descriptors of this user are on their way.
Result<bool> send_notice(int socket, std::string_view state, int fd = -1);

// Asks the manager to say when it has dealt with all that was sent before: the returned descriptor is ready for reading
// then, or if the manager is gone. Empty: its queue is full. Error: as above.
Result<UniqueFd> ask_barrier(int socket);

}  // namespace virtgate::spawn
