// SPDX-License-Identifier: LGPL-2.1-or-later
// packet - messages with descriptors over SOCK_SEQPACKET sockets.
//
// Between our own processes everything travels in packets: boundaries are kept, a descriptor belongs to exactly one
// packet, and 64 KiB at a time is several times faster than a stream socket. Longer data is cut by the caller; a
// packet has to fit the send buffer, which is 208 KiB where nobody raised it.
//
// Trust:  the other end may be a process that was taken over. A packet that was cut, or that carries more
//         descriptors than the caller allows, is the peer's fault; the descriptors that came are closed.
// Limits: k_packet_max bytes, k_packet_fds_max descriptors.
#pragma once

#include <array>
#include <span>

#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"

namespace virtgate::channel {

constexpr std::size_t k_packet_max = 65536;
constexpr std::size_t k_packet_fds_max = 32;

enum class Outcome : unsigned char {
    done,     // a whole packet was sent or received
    blocked,  // nothing happened; try again when the socket is ready
    closed,   // the other end is gone
    broken,   // the peer broke a rule, or the socket failed; do not use the channel any more
};

// Sends `bytes` (1..k_packet_max) as one packet, with copies of `fds` (borrowed, at most k_packet_fds_max).
// Never raises SIGPIPE. Works on blocking and non-blocking sockets.
[[nodiscard]] Outcome send_packet(int socket, ByteView bytes, std::span<const int> fds = {}) noexcept;

// The same, with the bytes gathered from two places.
[[nodiscard]] Outcome send_packet(int socket, ByteView head, ByteView tail,
                                  std::span<const int> fds = {}) noexcept;

// Descriptors that came with a packet. They are close-on-exec.
class ReceivedFds {
public:
    [[nodiscard]] std::size_t count() const noexcept { return count_; }
    // The descriptor number `i`; what was taken once is empty afterwards.
    [[nodiscard]] UniqueFd take(std::size_t i) noexcept { return std::move(fds_.at(i)); }
    void clear() noexcept;

private:
    friend Outcome receive_packet(int, MutableBytes, std::size_t&, ReceivedFds*, std::size_t) noexcept;
    std::array<UniqueFd, k_packet_fds_max> fds_;
    std::size_t count_ = 0;
};

// Receives one packet into `buffer` (which should have k_packet_max bytes) and sets `size`.
// At most `fds_allowed` descriptors may come with it, and they go to `fds`. Without `fds` the kernel throws away any
// that come, unseen by this process.
// Outcome::broken if the packet did not fit or brought more descriptors than were allowed.
[[nodiscard]] Outcome receive_packet(int socket, MutableBytes buffer, std::size_t& size,
                                     ReceivedFds* fds = nullptr, std::size_t fds_allowed = 0) noexcept;

// The same for a stream socket, without descriptors: what one system call brings, at most buffer.size() bytes.
// receive_packet() with `fds` serves stream sockets too; it then returns the bytes up to and including the one that
// brought descriptors.
[[nodiscard]] Outcome receive_some(int socket, MutableBytes buffer, std::size_t& size) noexcept;

}  // namespace virtgate::channel
