// SPDX-License-Identifier: LGPL-2.1-or-later
// notify - tell the service manager how this daemon is doing.
#include "libshared/spawn/notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "libshared/base/fd.h"

namespace virtgate::spawn {

Done notify(std::string_view state) {
    const char* name = getenv("NOTIFY_SOCKET");
    if (name == nullptr || *name == '\0') return {};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::size_t size = std::strlen(name);
    if ((name[0] != '/' && name[0] != '@') || size >= sizeof address.sun_path)
        return system_fault(0, "NOTIFY_SOCKET does not name a socket");
    std::memcpy(address.sun_path, name, size);
    if (name[0] == '@') address.sun_path[0] = '\0';
    const UniqueFd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);
    if (!socket || sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL,
                          reinterpret_cast<const sockaddr*>(&address), length) < 0)
        return system_fault(errno, "cannot reach the service manager");
    return {};
}

}  // namespace virtgate::spawn
