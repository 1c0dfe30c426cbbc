// SPDX-License-Identifier: LGPL-2.1-or-later
// packet - messages with descriptors over SOCK_SEQPACKET sockets.
#include "libshared/channel/packet.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

namespace virtgate::channel {

namespace {

constexpr std::size_t k_control_size = CMSG_SPACE(sizeof(int) * k_packet_fds_max);

Outcome outcome_of(int error) noexcept {
    switch (error) {
        case EAGAIN:
        case ENOBUFS: return Outcome::blocked;
        case EPIPE:
        case ECONNRESET:
        case ENOTCONN: return Outcome::closed;
        default: return Outcome::broken;
    }
}

Outcome send_vector(int socket, std::span<iovec> parts, std::span<const int> fds) noexcept {
    require(fds.size() <= k_packet_fds_max, "too many descriptors for one packet");
    alignas(cmsghdr) char control[k_control_size];
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    if (!fds.empty()) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(fds.size_bytes());
        cmsghdr* head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(head), fds.data(), fds.size_bytes());
    }
    for (;;) {
        if (sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return Outcome::done;
        if (errno != EINTR) return outcome_of(errno);
    }
}

// Takes ownership of every descriptor in the control data, also of those nobody asked for.
std::size_t collect_fds(msghdr& message, std::array<UniqueFd, k_packet_fds_max>& fds) noexcept {
    std::size_t count = 0;
    for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t here = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < here; ++i) {
            int fd;
            std::memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof fd);
            UniqueFd owned{fd};
            if (count < fds.size()) fds[count] = std::move(owned);
            ++count;
        }
    }
    return count;
}

Outcome receive_plain(int socket, MutableBytes buffer, std::size_t& size, int flags) noexcept {
    size = 0;
    for (;;) {
        const ssize_t n = recv(socket, buffer.data(), buffer.size(), flags);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return outcome_of(errno);
        if (static_cast<std::size_t>(n) > buffer.size()) return Outcome::broken;
        size = static_cast<std::size_t>(n);
        return n == 0 ? Outcome::closed : Outcome::done;
    }
}

}  // namespace

void ReceivedFds::clear() noexcept {
    for (std::size_t i = 0; i < count_; ++i) fds_[i].reset();
    count_ = 0;
}

Outcome send_packet(int socket, ByteView bytes, std::span<const int> fds) noexcept {
    return send_packet(socket, bytes, {}, fds);
}

Outcome send_packet(int socket, ByteView head, ByteView tail, std::span<const int> fds) noexcept {
    const std::size_t size = head.size() + tail.size();
    require(size != 0 && size <= k_packet_max, "a packet of a wrong size");
    if (fds.empty() && tail.empty()) {
        for (;;) {
            if (send(socket, head.data(), head.size(), MSG_NOSIGNAL) >= 0) return Outcome::done;
            if (errno != EINTR) return outcome_of(errno);
        }
    }
    // sendmsg() does not write through these pointers.
    std::array parts{iovec{const_cast<std::byte*>(head.data()), head.size()},
                     iovec{const_cast<std::byte*>(tail.data()), tail.size()}};
    return send_vector(socket, parts, fds);
}

Outcome receive_packet(int socket, MutableBytes buffer, std::size_t& size, ReceivedFds* fds,
                       std::size_t fds_allowed) noexcept {
    size = 0;
    // On a stream socket MSG_TRUNC would throw bytes away, so only packets get it.
    if (fds == nullptr) return receive_plain(socket, buffer, size, MSG_TRUNC);
    alignas(cmsghdr) char control[k_control_size];
    iovec part{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t n;
    do {
        n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return outcome_of(errno);

    const std::size_t came = collect_fds(message, fds->fds_);
    fds->count_ = came < k_packet_fds_max ? came : k_packet_fds_max;
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || came > fds_allowed) {
        fds->clear();
        return Outcome::broken;
    }
    if (n == 0) return Outcome::closed;
    size = static_cast<std::size_t>(n);
    return Outcome::done;
}

Outcome receive_some(int socket, MutableBytes buffer, std::size_t& size) noexcept {
    return receive_plain(socket, buffer, size, 0);
}

}  // namespace virtgate::channel
