// SPDX-License-Identifier: LGPL-2.1-or-later
// notify - tell the service manager how this daemon is doing.
//
// Source: sd_notify(3): a datagram of NAME=value lines to the UNIX socket that NOTIFY_SOCKET names; "@" in
//         front means an abstract socket. Used by systemd, and by `virtgate up` in its place.
#pragma once

#include <string>
#include <string_view>

#include "libshared/base/result.h"

namespace virtgate::spawn {

// Sends `state`, for example "READY=1\nSTATUS=serving port 16514". Without NOTIFY_SOCKET nothing happens.
// Error: system's fault, if the socket is named but cannot be reached.
Done notify(std::string_view state);

}  // namespace virtgate::spawn
