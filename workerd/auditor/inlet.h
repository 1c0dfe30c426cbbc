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
    // Reads from `socket` (SOCK_SEQPACKET), which is made non-blocking here.
    explicit Inlet(UniqueFd socket);

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

    UniqueFd socket_;
};

}  // namespace virtgate::workerd::auditor
