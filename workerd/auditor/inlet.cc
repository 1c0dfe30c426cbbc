// SPDX-License-Identifier: LGPL-2.1-or-later
// inlet - the reading end of a channel, read when its owner wants it.
#include "workerd/auditor/inlet.h"

#include <sys/ioctl.h>

#include <array>

namespace virtgate::workerd::auditor {

using channel::Outcome;

Inlet::Inlet(UniqueFd socket, Kind kind) : socket_(std::move(socket)), kind_(kind) {
    require(set_nonblocking(socket_.get(), true).has_value(), "an inlet without a socket");
}

Outcome Inlet::receive(MutableBytes buffer, std::size_t& size, UniqueFd* fd) {
    if (fd == nullptr) return channel::receive_packet(socket_.get(), buffer, size);
    channel::ReceivedFds fds;
    const Outcome outcome = channel::receive_packet(socket_.get(), buffer, size, &fds, 1);
    *fd = outcome == Outcome::done && fds.count() == 1 ? fds.take(0) : UniqueFd{};
    return outcome;
}

Inlet::State Inlet::read_stream(Message& message) {
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(taken_));
    taken_ = 0;
    for (;;) {
        if (buffer_.size() >= rpc::k_frame_min) {
            const std::size_t size = load_be32(buffer_.data());
            if (size < rpc::k_frame_min || size > channel::k_packet_max) return State::broken;
            if (size <= buffer_.size()) {
                taken_ = size;
                message = {rpc::read_header(buffer_.data()),
                           ByteView(buffer_).subspan(rpc::k_frame_min, size - rpc::k_frame_min)};
                return State::message;
            }
        }
        static thread_local std::array<std::byte, channel::k_packet_max> piece;
        std::size_t size = 0;
        switch (channel::receive_some(socket_.get(), piece, size)) {
            case Outcome::blocked: return State::empty;
            case Outcome::closed:
            case Outcome::broken: return State::closed;
            case Outcome::done: break;
        }
        buffer_.insert(buffer_.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(size));
    }
}

Inlet::State Inlet::read(Message& message, UniqueFd* fd) {
    if (kind_ == Kind::stream) return read_stream(message);
    static thread_local std::array<std::byte, channel::k_packet_max> buffer;
    std::size_t size = 0;
    Outcome outcome = receive(buffer, size, fd);
    // Who ends with unread packets of ours leaves an error in front of its own last ones; asked again, they come.
    if (outcome == Outcome::closed) outcome = receive(buffer, size, fd);
    switch (outcome) {
        case Outcome::blocked: return State::empty;
        case Outcome::closed: return State::closed;
        case Outcome::broken: return State::broken;
        case Outcome::done: break;
    }
    if (size < rpc::k_frame_min || load_be32(buffer.data()) != size) return State::broken;
    message = {rpc::read_header(buffer.data()),
               ByteView(buffer).subspan(rpc::k_frame_min, size - rpc::k_frame_min)};
    return State::message;
}

std::size_t Inlet::waiting() const noexcept {
    int bytes = 0;
    const bool is_known = ioctl(socket_.get(), FIONREAD, &bytes) == 0 && bytes > 0;
    return (is_known ? static_cast<std::size_t>(bytes) : 0) + buffer_.size() - taken_;
}

}  // namespace virtgate::workerd::auditor
