// SPDX-License-Identifier: LGPL-2.1-or-later
// queue - the reading end of the queue by which a locker says what to keep and what is over.
#include "lockd/holder/queue.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "libshared/channel/packet.h"

namespace virtgate::lockd::holder {

namespace {

// Nearly all packets are smaller than this, and are looked at so many at a time.
constexpr std::size_t k_small = 1024;
constexpr std::size_t k_some = 32;
// Two: of more than one descriptor it need only be known that there is more than one.
constexpr std::size_t k_fds = 2;

ssize_t receive(int socket, msghdr& message, int flags) noexcept {
    ssize_t n;
    do n = recvmsg(socket, &message, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    return n;
}

// Of a packet that cannot be looked at as a whole. One that is empty cannot be told from the end.
bool is_over(ssize_t n) noexcept { return n == 0 || (n < 0 && errno == ECONNRESET); }

}  // namespace

Result<Queue::Ends> Queue::make() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
        return system_fault(errno, "cannot make a queue");
    Ends made{Queue(UniqueFd{ends[0]}), UniqueFd{ends[1]}};
    // What is not read counts for whoever wrote it.
    const int size = k_buffer;
    if (setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size) < 0)
        return system_fault(errno, "cannot make a queue");
    return made;
}

Done Queue::look_from(int offset) {
    if (setsockopt(reading_.get(), SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) < 0)
        return system_fault(errno, "cannot look into the queue");
    return {};
}

Result<Queue::Look> Queue::look() {
    Look look;
    look.packets.reserve(k_look_max);
    small_.resize(k_look_max * k_small);
    large_.clear();
    offset_ = 0;
    for (;;) {
        const auto more = look_at_some(look);
        if (!more) return tl::unexpected<Error>(more.error());
        if (!*more) return look;
    }
}

// False if that was all.
Result<bool> Queue::look_at_some(Look& look) {
    const std::size_t first = look.packets.size();
    const std::size_t some = std::min(k_some, k_look_max - first);
    if (some == 0) return false;
    if (auto done = look_from(offset_); !done) return tl::unexpected(std::move(done.error()));
    std::array<iovec, k_some> parts;
    std::array<mmsghdr, k_some> messages{};
    for (std::size_t i = 0; i < some; ++i) {
        parts[i] = {small_.data() + (first + i) * k_small, k_small};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int taken;
    do
        taken = recvmmsg(reading_.get(), messages.data(), static_cast<unsigned>(some),
                         MSG_PEEK | MSG_DONTWAIT, nullptr);
    while (taken < 0 && errno == EINTR);
    if (taken < 0 && errno == EAGAIN) return false;
    if (taken < 0) {
        look.is_end = is_over(taken);
        if (!look.is_end) return system_fault(errno, "cannot look into the queue");
        return false;
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(taken); ++i) {
        const std::size_t size = messages[i].msg_len;
        const int flags = messages[i].msg_hdr.msg_flags;
        look.is_end = size == 0;
        if (look.is_end) return false;
        if ((flags & MSG_TRUNC) != 0) return look_at_large(look);
        look.packets.push_back({.bytes = ByteView(small_).subspan((first + i) * k_small, size),
                                .has_fds = (flags & MSG_CTRUNC) != 0,
                                .offset = offset_});
        offset_ += static_cast<int>(size);
    }
    return static_cast<std::size_t>(taken) == some;
}

// The one at offset_. False if it is none of ours.
Result<bool> Queue::look_at_large(Look& look) {
    if (auto done = look_from(offset_); !done) return tl::unexpected(std::move(done.error()));
    ByteVector& bytes = large_.emplace_back(channel::k_packet_max);
    iovec part{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const ssize_t n = receive(reading_.get(), message, MSG_PEEK);
    if (n < 0) return system_fault(errno, "cannot look into the queue");
    look.is_breach = (message.msg_flags & MSG_TRUNC) != 0;
    if (look.is_breach) return false;
    look.packets.push_back({.bytes = ByteView(bytes).first(static_cast<std::size_t>(n)),
                            .has_fds = (message.msg_flags & MSG_CTRUNC) != 0,
                            .offset = offset_});
    offset_ += static_cast<int>(n);
    return true;
}

Result<UniqueFd> Queue::copy_fd(const Packet& packet) {
    if (auto done = look_from(packet.offset); !done) return tl::unexpected(std::move(done.error()));
    std::byte first;
    iovec part{&first, sizeof first};
    alignas(cmsghdr) char control[CMSG_SPACE(k_fds * sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (receive(reading_.get(), message, MSG_PEEK) < 0)
        return system_fault(errno, "cannot look into the queue");
    std::array<UniqueFd, k_fds> fds;
    std::size_t count = 0;
    const cmsghdr* const head = CMSG_FIRSTHDR(&message);
    if (head != nullptr && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
        for (std::size_t at = CMSG_LEN(0); at + sizeof(int) <= head->cmsg_len && count < k_fds;
             at += sizeof(int)) {
            int fd;
            std::memcpy(&fd, reinterpret_cast<const char*>(head) + at, sizeof fd);
            fds.at(count++) = UniqueFd{fd};
        }
    if (count == 0) return system_fault(EMFILE, "no descriptor for what is kept");
    return count == 1 && (message.msg_flags & MSG_CTRUNC) == 0 ? std::move(fds[0]) : UniqueFd{};
}

void Queue::consume(std::size_t count) noexcept {
    std::array<mmsghdr, k_look_max> messages;
    while (count != 0) {
        // Without room for them, the kernel closes what came along.
        const std::size_t some = std::min(count, messages.size());
        std::fill_n(messages.begin(), some, mmsghdr{});
        const int taken =
            recvmmsg(reading_.get(), messages.data(), static_cast<unsigned>(some), MSG_DONTWAIT, nullptr);
        if (taken < 0 && errno == EINTR) continue;
        // Nobody else reads: what was looked at is there.
        require(taken > 0, "what was in the queue is gone");
        count -= static_cast<std::size_t>(taken);
    }
}

void Queue::shut() noexcept { ::shutdown(reading_.get(), SHUT_RDWR); }

}  // namespace virtgate::lockd::holder
