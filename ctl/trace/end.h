// SPDX-License-Identifier: LGPL-2.1-or-later
// end - one end of a connection that is relayed: a socket of this machine, or whatever a URI leads to.
//
// Nothing here blocks. What is written goes on as it is.
//
// Limits: descriptors pass between UNIX sockets only; nobody else takes any.
// Owns:   the connection.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "libshared/base/fd.h"
#include "libshared/client/transport.h"

namespace virtgate::ctl::trace {

// Whether something was moved, or has to wait, or there is nothing more.
enum class Step : unsigned char { moved, blocked, ended };

class End {
public:
    virtual ~End() = default;
    // To wait for.
    [[nodiscard]] virtual int fd() const noexcept = 0;
    // Reads at least one byte into `room`. Descriptors in `fds` came with the last of them.
    [[nodiscard]] virtual Step read(std::span<std::byte> room, std::size_t& size,
                                    std::vector<UniqueFd>& fds) noexcept = 0;
    // Writes the beginning of `bytes`, with `fds` if that is all of them. What is left comes again, unchanged.
    [[nodiscard]] virtual Step write(ByteView bytes, std::size_t& sent,
                                     std::span<const UniqueFd> fds) noexcept = 0;
    // read() has something although fd() may not be readable.
    [[nodiscard]] virtual bool has_buffered() const noexcept { return false; }
    // What is known of why it ended, escaped. May be empty.
    [[nodiscard]] virtual std::string epitaph() { return {}; }
    // Nothing more is written, or read.
    void finish_writing() noexcept;
    void finish_reading() noexcept;
};

// A connected UNIX socket.
[[nodiscard]] std::unique_ptr<End> make_socket_end(UniqueFd socket);
[[nodiscard]] std::unique_ptr<End> make_channel_end(std::unique_ptr<client::Channel> channel);

}  // namespace virtgate::ctl::trace
