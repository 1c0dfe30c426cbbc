// SPDX-License-Identifier: LGPL-2.1-or-later
// peer - who is at the other end of a UNIX socket, as the kernel says.
#include "libshared/server/peer.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace virtgate::server {

namespace {

// Newer than the headers of the oldest system that we build on; the same number on all architectures that we build for.
constexpr int k_so_peerpidfd = 77;

}  // namespace

Result<Peer> read_peer(int socket) {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
        return system_fault(errno, "cannot ask who connected");
    return Peer{.uid = credentials.uid, .gid = credentials.gid, .pid = credentials.pid};
}

Result<UniqueFd> open_peer_process(int socket, const Peer& peer) {
    int process = -1;
    socklen_t size = sizeof process;
    if (getsockopt(socket, SOL_SOCKET, k_so_peerpidfd, &process, &size) == 0) return UniqueFd{process};
    // Of a process that was reaped the kernel says EINVAL, or ESRCH.
    if (errno != ENOPROTOOPT)
        return system_fault(errno == EINVAL ? ESRCH : errno, "cannot open the process that connected");
    process = static_cast<int>(syscall(SYS_pidfd_open, peer.pid, 0U));
    if (process < 0) return system_fault(errno, "cannot open the process that connected");
    return UniqueFd{process};
}

}  // namespace virtgate::server
