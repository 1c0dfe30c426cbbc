// SPDX-License-Identifier: LGPL-2.1-or-later
// connection - one client's byte stream, whatever carries it, in steps that never wait.
//
// Two kinds: TLS (tls/connection.h) and plain (plain.h), which carries UNIX sockets and the clear side of a SASL
// security layer.
//
// Trust:  everything from the peer is hostile.
// Limits: output is accepted only when what was sent before has left, so at most one turn's output waits in memory.
// Owns:   the socket. May move between threads while no call is in progress.
#pragma once

#include <string_view>
#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"

namespace virtgate::netd::gate {

enum class Step : unsigned char {
    done,        // it is done; call again for more
    want_read,   // nothing more until the socket is readable
    want_write,  // nothing more until the socket is writable
    closed,      // the peer closed
    failed,      // the peer broke a rule, or the socket failed; why() says what
};

class Connection {
public:
    // How much one turn reads from a socket, and how large a buffer receive() needs for it. Four full records of TLS 1.3 (22 bytes
    // around each) are one full packet to a worker: bulk data comes and goes without a rest.
    static constexpr std::size_t k_read_max = 4 * (16384 + 22);
    static constexpr std::size_t k_buffer_size = k_read_max + 16384;
    // Descriptors that a client may send ahead of their use.
    static constexpr std::size_t k_descriptors_max = 32;

    Connection() = default;
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    virtual ~Connection() = default;

    // Reads what one system call brings into `into` (k_buffer_size bytes for a full turn), and sets `size`, which
    // may be more than 0 together with any result: use the bytes first.
    [[nodiscard]] virtual Step receive(MutableBytes into, std::size_t& size) = 0;
    // Reads at most into.size() bytes and leaves what follows where another reader of the socket finds it: who
    // hands the connection on may not have read past the end of a frame. Sets `size` like receive().
    [[nodiscard]] virtual Step receive_some(MutableBytes into, std::size_t& size) = 0;
    // True if bytes from the socket wait in memory: receive() has to be called without waiting for the socket.
    [[nodiscard]] virtual bool has_input() const noexcept = 0;

    // Sends bytes. done: all of it left, or the kernel took what it could and the rest waits here (has_output()).
    // failed: the connection is broken.
    // In steps, since the borders matter to TLS: bytes of different add_records() never share a record. Between
    // begin and send nothing else may be called on any connection of this thread, and the bytes stay valid.
    virtual void begin_records() noexcept = 0;
    [[nodiscard]] virtual Step add_records(ByteView bytes) = 0;
    [[nodiscard]] virtual Step send_records() = 0;
    [[nodiscard]] Step send(ByteView bytes) {
        begin_records();
        const Step step = add_records(bytes);
        return step == Step::done ? send_records() : step;
    }
    // Sends what waits. done when nothing waits any more.
    [[nodiscard]] virtual Step flush() = 0;
    [[nodiscard]] virtual bool has_output() const noexcept = 0;
    // Says goodbye, as far as that is possible without waiting.
    virtual void bye() noexcept = 0;

    // True if descriptors can travel with the bytes.
    [[nodiscard]] virtual bool passes_descriptors() const noexcept { return false; }
    // Those that came so far, in their order; at most k_descriptors_max are ever held.
    [[nodiscard]] virtual std::size_t descriptors_held() const noexcept { return 0; }
    [[nodiscard]] virtual std::vector<UniqueFd> take_descriptors() { return {}; }
    // Sends each with a zero byte, behind all that was sent before, as libvirt's clients expect them after their
    // frame. Only if passes_descriptors().
    [[nodiscard]] virtual Step send_descriptors(std::vector<UniqueFd>) { return Step::failed; }

    [[nodiscard]] virtual int socket() const noexcept = 0;
    // Gives the socket away. Only while neither has_input() nor has_output().
    [[nodiscard]] virtual UniqueFd release_socket() noexcept = 0;
    // Why the last call failed. Valid until the next call.
    [[nodiscard]] virtual std::string_view why() const noexcept = 0;
};

}  // namespace virtgate::netd::gate
