// SPDX-License-Identifier: LGPL-2.1-or-later
// connect - reach a listening UNIX socket by its name, without waiting.
#include "libshared/channel/connect.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "libshared/base/bytes.h"

namespace virtgate::channel {

Result<UniqueFd> connect_to(const std::string& path, int type) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return system_fault(ENAMETOOLONG, escape(path));
    std::memcpy(address.sun_path, path.data(), path.size());
    UniqueFd socket{::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!socket) return system_fault(errno, "cannot make a socket");
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return system_fault(errno, escape(path));
    return socket;
}

}  // namespace virtgate::channel
