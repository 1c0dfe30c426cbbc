// SPDX-License-Identifier: LGPL-2.1-or-later
// notify - tell the service manager how this daemon is doing, and leave descriptors with it.
#include "libshared/spawn/notify.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "libshared/spawn/background.h"

namespace virtgate::spawn {

namespace {

constexpr const char* k_unreachable = "cannot reach the service manager";

// Blocking, so that nothing of a daemon's few words is lost; or not, for who has a loop to wait in.
Result<UniqueFd> connect_to_manager(int flags) {
    const char* name = getenv("NOTIFY_SOCKET");
    if (name == nullptr || *name == '\0') return UniqueFd{};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::size_t size = std::strlen(name);
    if ((name[0] != '/' && name[0] != '@') || size >= sizeof address.sun_path)
        return system_fault(0, "NOTIFY_SOCKET does not name a socket");
    std::memcpy(address.sun_path, name, size);
    if (name[0] == '@') address.sun_path[0] = '\0';
    UniqueFd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | flags, 0)};
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);
    if (!socket || connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) < 0)
        return system_fault(errno, k_unreachable);
    return socket;
}

}  // namespace

Done notify(std::string_view state) {
    if (state.starts_with("READY=1")) tell_waiting_parent(0);
    auto socket = connect_to_manager(0);
    if (!socket) return tl::unexpected(std::move(socket.error()));
    if (!*socket) return {};
    auto sent = send_notice(socket->get(), state);
    if (!sent) return tl::unexpected(std::move(sent.error()));
    return {};
}

Result<UniqueFd> connect_notify() { return connect_to_manager(SOCK_NONBLOCK); }

Result<bool> send_notice(int socket, std::string_view state, int fd) {
    iovec part{const_cast<char*>(state.data()), state.size()};  // the kernel only reads it
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (fd >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr* head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof fd);
        std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
    }
    for (;;) {
        if (sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return true;
        if (errno == EAGAIN) return false;
        if (errno != EINTR) return system_fault(errno, k_unreachable);
    }
}

Result<UniqueFd> ask_barrier(int socket) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return system_fault(errno, "cannot make a pipe");
    UniqueFd answer{ends[0]};
    const UniqueFd question{ends[1]};
    // The manager closes its copy when it comes to this notice; ours goes with this function.
    auto sent = send_notice(socket, "BARRIER=1", question.get());
    if (!sent) return tl::unexpected(std::move(sent.error()));
    return *sent ? std::move(answer) : UniqueFd{};
}

}  // namespace virtgate::spawn
