// SPDX-License-Identifier: LGPL-2.1-or-later
// peer - who is at the other end of a UNIX socket, as the kernel says.
//
// Source: unix(7), SO_PEERCRED: what the process was when it connected. SO_PEERPIDFD (Linux 6.5) names the same process,
//         whatever has become of its number.
#pragma once

#include <sys/types.h>

#include "libshared/base/fd.h"

namespace virtgate::server {

struct Peer {
    uid_t uid = static_cast<uid_t>(-1);
    gid_t gid = static_cast<gid_t>(-1);
    pid_t pid = 0;  // 0: of another PID namespace
    bool operator==(const Peer&) const = default;
};

// Who connected `socket`. Error: system's fault.
[[nodiscard]] Result<Peer> read_peer(int socket);

// A pidfd of the process that connected `socket`: readable when that has ended. Before Linux 6.5 it is found by `peer`'s
// number, which may have been used again if the process ended in the meantime: ask as early as it is needed.
// Error: system's fault; its number is ESRCH if the process is gone.
[[nodiscard]] Result<UniqueFd> open_peer_process(int socket, const Peer& peer);

}  // namespace virtgate::server
