// SPDX-License-Identifier: LGPL-2.1-or-later
// transport - bytes to a server and back, whatever lies between: one interface for UNIX sockets, TCP, TLS and
// tunnels.
//
// Nothing here blocks once the Transport is made; the functions that make one wait as long as their caller
// allows.
//
// Threads: one thread may read while another one writes. No two may read, or write, at the same time.
// Trust:   what is read comes from the server, and from whoever is on the way if the transport is not secure.
// Owns:    the descriptor, and what serves it (a TLS session, a child process).
#pragma once

#include <memory>
#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"
#include "libshared/client/environment.h"
#include "libshared/client/wait.h"

namespace virtgate::client {

// How far a read or write came.
struct Progress {
    enum class Kind : unsigned char {
        moved,    // `size` bytes, at least one
        blocked,  // none now: wait for the descriptor
        ended,    // the server has closed its end
    };
    Kind kind = Kind::moved;
    std::size_t size = 0;
};

class Channel {
public:
    virtual ~Channel() = default;

    // To wait for; readable when read() may bring something, writable when write() may take something.
    [[nodiscard]] virtual int fd() const noexcept = 0;

    // Reads at most buffer.size() bytes. Descriptors that came with them are appended to `fds`, in their
    // order. Error: Cause::system, or Cause::protocol if what lies between was broken.
    [[nodiscard]] virtual Result<Progress> read(MutableBytes buffer, std::vector<UniqueFd>& fds) = 0;

    // Writes the beginning of `bytes`. What was not taken has to be given again, unchanged, in the next call.
    [[nodiscard]] virtual Result<Progress> write(ByteView bytes) = 0;

    // Sends one byte that carries a copy of `fd` (borrowed). Only where passes_descriptors().
    [[nodiscard]] virtual Result<Progress> send_descriptor(int fd);
    [[nodiscard]] virtual bool passes_descriptors() const noexcept { return false; }

    // True if read() has something although the descriptor may not be readable.
    [[nodiscard]] virtual bool has_buffered() const noexcept { return false; }

    // True if nobody on the way can read or change anything: a login may send a password.
    [[nodiscard]] virtual bool is_secure() const noexcept = 0;
    // The bits of the encryption's key, for SASL; 0 if there is none.
    [[nodiscard]] virtual unsigned strength() const noexcept { return 0; }

    // What else is known when it ended, such as what ssh wrote to its standard error. May be empty. Escaped.
    [[nodiscard]] virtual std::string epitaph() { return {}; }
};

// What SASL calls the two ends of the socket `fd`: "ADDRESS;PORT", or "127.0.0.1;0" for what has no address.
struct EndNames {
    std::string local, remote;
};
[[nodiscard]] EndNames name_ends(int fd);

// A connected UNIX socket, or one half of a socket pair. It passes descriptors.
[[nodiscard]] std::unique_ptr<Channel> make_socket_channel(UniqueFd socket, bool is_secure,
                                                           bool passes_descriptors);

// Error: Cause::unreachable.
[[nodiscard]] Result<std::unique_ptr<Channel>> connect_unix(const std::string& path,
                                                            const Deadline& deadline);

// Resolves `host` and connects to the address that answers first: the next one is tried when one fails, or
// beside it after a quarter of a second. Non-blocking, without delay of small packets, kernel keepalive on.
// Error: Cause::unreachable, with what each address said.
[[nodiscard]] Result<UniqueFd> connect_tcp_socket(const std::string& host, std::uint16_t port,
                                                  const Deadline& deadline);

// Everything up to the first byte of RPC, as the URI has it. `read_only` chooses between UNIX sockets.
// Error: Cause::unreachable, untrusted, invalid, unsupported (libssh, libssh2), timeout, cancelled or system.
[[nodiscard]] Result<std::unique_ptr<Channel>> connect(const Uri& uri, bool read_only,
                                                       const Environment& environment,
                                                       const Deadline& deadline);

}  // namespace virtgate::client
