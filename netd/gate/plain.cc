// SPDX-License-Identifier: LGPL-2.1-or-later
// plain - a connection whose bytes travel as they are: a UNIX socket, or TCP before a SASL layer is on it.
#include "netd/gate/plain.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "libshared/channel/packet.h"

namespace virtgate::netd::gate {

using channel::Outcome;

namespace {

constexpr std::string_view k_lost = "the connection was lost";
constexpr std::byte k_descriptor_byte{0};

}  // namespace

PlainConnection::PlainConnection(UniqueFd socket, bool passes_descriptors)
    : socket_(std::move(socket)), passes_descriptors_(passes_descriptors) {
    require(set_nonblocking(socket_.get(), true).has_value(), "a socket that is not open");
}

Step PlainConnection::fail(std::string_view why) noexcept {
    why_ = why;
    return Step::failed;
}

Step PlainConnection::receive(MutableBytes into, std::size_t& size) {
    size = 0;
    const MutableBytes part = into.first(std::min(into.size(), k_read_max));
    // One read of a stream socket ends behind the first byte that brought descriptors, so their order is known.
    channel::ReceivedFds fds;
    const Outcome outcome = passes_descriptors_
                                ? channel::receive_packet(socket_.get(), part, size, &fds, k_descriptors_max)
                                : channel::receive_some(socket_.get(), part, size);
    for (std::size_t i = 0; i < fds.count(); ++i) came_.push_back(fds.take(i));
    if (came_.size() > k_descriptors_max) return fail("more descriptors than one call can have");
    switch (outcome) {
        case Outcome::done:
        case Outcome::blocked: return Step::want_read;
        case Outcome::closed: return Step::closed;
        case Outcome::broken: return fail("the connection was lost, or too many descriptors came");
    }
    return fail(k_lost);
}

Step PlainConnection::add_records(ByteView bytes) {
    if (!run_.empty() && run_.data() + run_.size() == bytes.data()) {
        run_ = ByteView(run_.data(), run_.size() + bytes.size());
        return Step::done;
    }
    const Step step = write_out(run_);
    run_ = bytes;
    return step;
}

Step PlainConnection::send_records() { return write_out(std::exchange(run_, {})); }

Step PlainConnection::write_out(ByteView bytes) {
    while (!bytes.empty() && waiting_.empty()) {
        const ssize_t n = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN && errno != ENOBUFS) return fail(k_lost);
        if (n < 0) break;
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    if (!bytes.empty()) waiting_.push_back({.bytes = {bytes.begin(), bytes.end()}, .descriptor = {}});
    return Step::done;
}

Step PlainConnection::send_descriptors(std::vector<UniqueFd> descriptors) {
    for (UniqueFd& descriptor : descriptors)
        waiting_.push_back({.bytes = {k_descriptor_byte}, .descriptor = std::move(descriptor)});
    const Step step = flush();
    return step == Step::want_write ? Step::done : step;
}

Step PlainConnection::flush() {
    while (!waiting_.empty()) {
        Waiting& next = waiting_.front();
        if (next.descriptor) {
            const int descriptor = next.descriptor.get();
            const Outcome outcome =
                channel::send_packet(socket_.get(), next.bytes, std::span(&descriptor, 1));
            if (outcome == Outcome::blocked) return Step::want_write;
            if (outcome != Outcome::done) return fail(k_lost);
            waiting_.pop_front();
            continue;
        }
        const ssize_t n =
            ::send(socket_.get(), next.bytes.data(), next.bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN || errno == ENOBUFS ? Step::want_write : fail(k_lost);
        if (static_cast<std::size_t>(n) == next.bytes.size())
            waiting_.pop_front();
        else
            next.bytes.erase(next.bytes.begin(), next.bytes.begin() + n);
    }
    return Step::done;
}

}  // namespace virtgate::netd::gate
