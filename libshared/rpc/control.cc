// SPDX-License-Identifier: LGPL-2.1-or-later
// control - one end of a control channel between two of our own processes, in a loop.
#include "libshared/rpc/control.h"

#include <fcntl.h>

#include <array>
#include <cerrno>

#include "libshared/rpc/error.h"

namespace virtgate::rpc {

using channel::Outcome;
using loop::Want;

Control::Control(loop::Loop& loop, UniqueFd socket, std::size_t fds_allowed, OnMessage on_message,
                 OnClosed on_closed, std::size_t queue_max)
    : socket_(std::move(socket)),
      fds_allowed_(fds_allowed),
      on_message_(on_message),
      on_closed_(on_closed),
      queue_max_(queue_max) {
    require(set_nonblocking(socket_.get(), true).has_value(), "a control channel without a socket");
    watch_ = loop.watch(socket_.get(), Want::read, loop::to<&Control::on_ready>(*this));
}

Done Control::send(const Header& header, ByteView payload, std::span<const int> fds) {
    if (!socket_) return system_fault(0, "the control channel is closed");
    require(payload.size() <= k_payload_max, "a control message that is too long");
    std::array<std::byte, k_frame_min> head;
    write_header(head.data(), k_frame_min + payload.size(), header);
    if (queue_.empty()) {
        const Outcome outcome = channel::send_packet(socket_.get(), head, payload, fds);
        if (outcome == Outcome::done) return {};
        if (outcome != Outcome::blocked)
            return system_fault(
                0, "the other end of the control channel is gone");  // on_closed follows from the loop
    }
    if (queue_.size() >= queue_max_) return peer_fault("the other end of the control channel does not read");
    Waiting waiting{.frame = make_frame(header, payload), .fds = {}};
    for (const int fd : fds) {
        UniqueFd copy{fcntl(fd, F_DUPFD_CLOEXEC, 0)};
        if (!copy) return system_fault(errno, "cannot copy a descriptor");
        waiting.fds.push_back(std::move(copy));
    }
    queue_.push_back(std::move(waiting));
    watch_->set(Want::both);
    return {};
}

Done Control::send_reply(const Header& call, ByteView payload, std::span<const int> fds) {
    return send(reply_to(call), payload, fds);
}

Done Control::send_error(const Header& call, int code, std::string_view text) {
    return send(reply_to(call, Status::error), make_error_payload(code, text));
}

void Control::on_ready(Want ready) noexcept {
    if (ready == Want::write)
        flush();
    else
        on_readable();
}

void Control::flush() noexcept {
    while (!queue_.empty()) {
        std::array<int, channel::k_packet_fds_max> fds;
        std::size_t count = 0;
        for (const UniqueFd& fd : queue_.front().fds) fds[count++] = fd.get();
        const Outcome outcome =
            channel::send_packet(socket_.get(), queue_.front().frame, std::span(fds).first(count));
        if (outcome == Outcome::blocked) return;
        if (outcome != Outcome::done) break;  // the readable side reports the end
        queue_.pop_front();
    }
    watch_->set(Want::read);
}

void Control::on_readable() noexcept {
    // One packet a turn: the callback may destroy this object, and other descriptors get their turn.
    static thread_local std::array<std::byte, channel::k_packet_max> buffer;
    channel::ReceivedFds fds;
    std::size_t size = 0;
    switch (channel::receive_packet(socket_.get(), buffer, size, &fds, fds_allowed_)) {
        case Outcome::blocked: return;
        case Outcome::closed: return close(k_hung_up);
        case Outcome::broken: return close("it sent a packet that breaks the rules");
        case Outcome::done: break;
    }
    if (size < k_frame_min || load_be32(buffer.data()) != size)
        return close("it sent a packet that is not one frame");
    Message message{read_header(buffer.data()), ByteView(buffer).subspan(k_frame_min, size - k_frame_min),
                    fds};
    on_message_(message);
}

void Control::close(std::string_view reason) noexcept {
    watch_.reset();
    socket_.reset();
    queue_.clear();
    on_closed_(reason);
}

}  // namespace virtgate::rpc
