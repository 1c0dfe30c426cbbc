// SPDX-License-Identifier: LGPL-2.1-or-later
// layer - the security layer of one client, between its TCP connection and its gate.
#include "netd/doorman/sasl/layer.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "libshared/base/fd.h"

namespace virtgate::netd::doorman::sasl {

// Reads one piece, unless there is one already, and converts it.
Done Layer::fill(Direction& direction, Convert convert, std::size_t limit) {
    if (!direction.waiting.empty() || direction.ended) return {};
    const ssize_t n = recv(direction.from, buffer_.data(), std::min(limit, buffer_.size()), 0);
    if (n < 0) {
        if (errno == EINTR || errno == EAGAIN) return {};
        // A connection that was reset has ended like any other.
        if (errno != ECONNRESET) return system_fault(errno, "cannot read");
    }
    if (n <= 0) {
        direction.ended = true;
        return {};
    }
    const auto converted = (conversation_.*convert)({buffer_.data(), static_cast<std::size_t>(n)});
    if (!converted) return tl::make_unexpected(converted.error());
    direction.waiting = *converted;
    return {};
}

bool Layer::drain(Direction& direction) noexcept {
    while (!direction.waiting.empty()) {
        const ssize_t n =
            send(direction.to, direction.waiting.data(), direction.waiting.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN;
        direction.waiting.remove_prefix(static_cast<std::size_t>(n));
    }
    if (direction.ended && !direction.shut) {
        shutdown(direction.to, SHUT_WR);
        direction.shut = true;
    }
    return true;
}

// What the descriptor that `reads` comes from and `writes` goes to has to be polled for.
short Layer::wants(const Direction& reads, const Direction& writes) noexcept {
    int events = 0;
    if (reads.waiting.empty() && !reads.ended) events |= POLLIN;
    if (!writes.waiting.empty()) events |= POLLOUT;
    return static_cast<short>(events);
}

int Layer::patience() const noexcept {
    if (!gate_gone_) return -1;
    const auto left = std::chrono::duration_cast<Milliseconds>(deadline_ - system_clock().now());
    return static_cast<int>(std::max(Milliseconds{0}, left).count());
}

Done Layer::run() {
    for (const int fd : {inward_.from, inward_.to})
        if (auto done = set_nonblocking(fd, true); !done) return done;
    while (!(inward_.shut && outward_.shut)) {
        // A descriptor that nothing is wanted of is left out: it would report again and again that it has
        // ended.
        const short tcp_wants = wants(inward_, outward_), clear_wants = wants(outward_, inward_);
        std::array<pollfd, 2> polled{
            pollfd{tcp_wants != 0 ? inward_.from : -1, tcp_wants, 0},
            pollfd{clear_wants != 0 || !gate_gone_ ? inward_.to : -1, clear_wants, 0}};
        const int ready = poll(polled.data(), polled.size(), patience());
        if (ready < 0 && errno == EINTR) continue;
        if (ready < 0) return system_fault(errno, "cannot poll");
        if (ready == 0) return peer_fault("the client does not take the rest of what it was sent");
        // The gate has closed its end altogether: nobody reads what the client sends. What it wrote before
        // is still to be read, and to be sent.
        if ((polled[1].revents & (POLLHUP | POLLERR)) != 0 && !gate_gone_) {
            gate_gone_ = true;
            deadline_ = system_clock().now() + k_patience;
            inward_.ended = true;
            inward_.waiting = {};
        }
        if (!gate_gone_ && (polled[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
            if (auto done = fill(inward_, &Conversation::decode, buffer_.size()); !done) return done;
        if (gate_gone_ || (polled[1].revents & POLLIN) != 0)
            if (auto done = fill(outward_, &Conversation::encode, conversation_.max_piece()); !done)
                return done;
        if (!drain(inward_) && !gate_gone_) return {};
        if (!drain(outward_)) return {};
        if (gate_gone_ && outward_.shut) return {};
    }
    return {};
}

}  // namespace virtgate::netd::doorman::sasl
