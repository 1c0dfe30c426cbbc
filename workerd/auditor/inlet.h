// SPDX-License-Identifier: LGPL-2.1-or-later
// inlet - the reading end of a channel, read when its owner wants it.
//
// rpc::Control reads when the loop says so; the auditor has to read one channel before another, whatever the loop says.
//
// Trust:  the other end may be a process that was taken over.
// Limits: one frame a packet, of at most 64 KiB.
// Owns:   the socket.
#pragma once

#include <optional>

#include "libshared/base/fd.h"
#include "libshared/channel/packet.h"
#include "libshared/rpc/header.h"

namespace virtgate::workerd::auditor {

class Inlet {
public:
    // A stream has one frame behind the other, and no descriptors.
    enum class Kind : unsigned char { packets, stream };

    // Reads from `socket` (SOCK_SEQPACKET, or a stream), which is made non-blocking here.
    explicit Inlet(UniqueFd socket, Kind kind = Kind::packets);

    enum class State : unsigned char {
        message,  // there is one
        empty,    // nothing is there now
        closed,   // the other end is gone, and all that it sent was read
        broken,   // it sent something that is not one frame
    };

    // A message. The payload is good until the next read() of any inlet.
    struct Message {
        rpc::Header header;
        ByteView payload;
    };

    // The next message, which may bring a descriptor if `fd` is there; without it, those that come are thrown away.
    [[nodiscard]] State read(Message& message, UniqueFd* fd = nullptr);

    // Bytes that wait to be read.
    [[nodiscard]] std::size_t waiting() const noexcept;

    [[nodiscard]] int fd() const noexcept { return socket_.get(); }

private:
    [[nodiscard]] channel::Outcome receive(MutableBytes buffer, std::size_t& size, UniqueFd* fd);

    [[nodiscard]] State read_stream(Message& message);

    UniqueFd socket_;
    const Kind kind_;
    ByteVector buffer_{};    // of a stream: what was read
    std::size_t taken_ = 0;  // of that
};

}  // namespace virtgate::workerd::auditor
