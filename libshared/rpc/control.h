// SPDX-License-Identifier: LGPL-2.1-or-later
// control - one end of a control channel between two of our own processes, in a loop.
//
// A control channel is a SOCK_SEQPACKET socket that carries one frame in each packet, of the programs described in
// proto/ (supervise, door, broker, work). Descriptors go with the frame that speaks of them.
//
// Trust:  the other process may have been taken over. A packet that is not exactly one frame, or that brings more
//         descriptors than this end allows, closes the channel; what a message may say in which state is for the
//         owner to check.
// Limits: 64 KiB a message; at most `queue_max` messages wait for a peer that does not read, then send() fails.
// Owns:   the socket, and what waits to be sent (with copies of the descriptors).
#pragma once

#include <deque>
#include <string_view>
#include <vector>

#include "libshared/channel/packet.h"
#include "libshared/loop/loop.h"
#include "libshared/rpc/header.h"

namespace virtgate::rpc {

class Control {
public:
    static constexpr std::size_t k_queue_max = 256;
    // What `on_closed` is told where the other end was closed in good order; anything else is a breach.
    static constexpr std::string_view k_hung_up = "it hung up";
    static constexpr std::size_t k_payload_max = channel::k_packet_max - k_frame_min;

    // A message that came. `payload` and `fds` are valid during the callback; descriptors not taken are closed.
    struct Message {
        Header header;
        ByteView payload;
        channel::ReceivedFds& fds;
    };
    using OnMessage = loop::Target<Message&>;
    using OnClosed = loop::Target<std::string_view>;

    // Serves `socket` (SOCK_SEQPACKET, made non-blocking here). Each message may bring up to `fds_allowed`
    // descriptors. `on_closed` is called at most once, with a reason in words, from the loop and never from within
    // send(). Both targets may destroy this object.
    Control(loop::Loop& loop, UniqueFd socket, std::size_t fds_allowed, OnMessage on_message,
            OnClosed on_closed, std::size_t queue_max = k_queue_max);

    // Sends a frame of `header` and `payload` (at most k_payload_max bytes) with copies of `fds` (borrowed).
    // Error: peer's fault, if it does not read; system's fault, if the channel is closed.
    Done send(const Header& header, ByteView payload, std::span<const int> fds = {});

    // Answers `call` with `payload`, or with an error that says `text` (see error.h).
    Done send_reply(const Header& call, ByteView payload, std::span<const int> fds = {});
    Done send_error(const Header& call, int code, std::string_view text);

    // A serial for the next call of this end; starts at 1.
    [[nodiscard]] std::uint32_t next_serial() noexcept { return ++serial_; }
    [[nodiscard]] bool is_open() const noexcept { return static_cast<bool>(socket_); }

private:
    struct Waiting {
        ByteVector frame;
        std::vector<UniqueFd> fds;
    };
    void on_ready(loop::Want ready) noexcept;
    void on_readable() noexcept;
    void flush() noexcept;
    void close(std::string_view reason) noexcept;

    UniqueFd socket_;
    std::unique_ptr<loop::Watch> watch_;
    std::size_t fds_allowed_;
    OnMessage on_message_;
    OnClosed on_closed_;
    const std::size_t queue_max_;
    std::deque<Waiting> queue_;
    std::uint32_t serial_ = 0;
};

}  // namespace virtgate::rpc
