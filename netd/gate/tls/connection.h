// SPDX-License-Identifier: LGPL-2.1-or-later
// connection - TLS 1.3 on one client socket, in steps that never wait.
//
// GnuTLS works on memory here: one recv() fills a buffer that all connections of a thread share, GnuTLS takes
// records out of it, and the records that it makes are collected and leave with one send(). So a turn costs one
// system call in each direction whatever the number of records, and an idle connection owns no buffer.
//
// Trust:  everything from the peer is hostile; GnuTLS stands between.
// Limits: a turn reads at most k_raw_size bytes from the socket. Output is accepted only when what was sent before
//         has left, so at most one turn's output waits in memory.
// Owns:   the socket and the GnuTLS session. May move between threads while no call is in progress.
#pragma once

#include <gnutls/gnutls.h>

#include <array>
#include <memory>

#include "libshared/base/fd.h"
#include "libshared/base/handle.h"
#include "netd/gate/tls/credentials.h"
#include "netd/gate/tls/transcript.h"

namespace virtgate::netd::gate {

enum class TlsStep : unsigned char {
    done,        // it is done; call again for more
    want_read,   // nothing more until the socket is readable
    want_write,  // nothing more until the socket is writable
    closed,      // the peer closed
    failed,      // the peer broke TLS, or the socket failed; why() says what
};

class TlsConnection final : private SigningContext {
public:
    static constexpr std::size_t k_raw_size = 65536;
    static constexpr std::size_t k_record_max = 16384;
    using Random = std::array<std::byte, 32>;

    // Starts TLS as server on `socket` (connected, non-blocking). `random` becomes the server's random; doorman
    // gave it. `credentials` have to outlive the connection.
    // Error: system's fault, no memory.
    [[nodiscard]] static Result<std::unique_ptr<TlsConnection>> make(const Credentials& credentials,
                                                                     UniqueFd socket, const Random& random);
    TlsConnection(const TlsConnection&) = delete;
    TlsConnection& operator=(const TlsConnection&) = delete;
    ~TlsConnection() override;

    // Goes on with the handshake. After done, transcript() has the client's proof.
    [[nodiscard]] TlsStep handshake();
    [[nodiscard]] Transcript& transcript() noexcept { return transcript_; }

    // Reads what one recv() brings into `into` (at least k_raw_size + k_record_max bytes for a full turn), and sets
    // `size`, which may be more than 0 together with any result: use the bytes first.
    [[nodiscard]] TlsStep receive(MutableBytes into, std::size_t& size);
    // True if bytes from the socket wait in memory: receive() has to be called without waiting for the socket.
    [[nodiscard]] bool has_input() const noexcept { return !saved_.empty(); }

    // Sends all of `bytes`. done: all of it left, or the kernel took what it could and the rest waits here
    // (has_output()). failed: the connection is broken.
    [[nodiscard]] TlsStep send(ByteView bytes);
    // The same in steps, where the borders of records matter: bytes of different add_records() never share one.
    // Between begin and send nothing else may be called on any connection of this thread.
    void begin_records() noexcept;
    [[nodiscard]] TlsStep add_records(ByteView bytes);
    [[nodiscard]] TlsStep send_records();
    // Sends what waits. done when nothing waits any more.
    [[nodiscard]] TlsStep flush();
    [[nodiscard]] bool has_output() const noexcept { return !waiting_.empty(); }
    // Says goodbye, as far as that is possible without waiting.
    void bye() noexcept;

    [[nodiscard]] int socket() const noexcept { return socket_.get(); }
    // Why the last call failed. Valid until the next call.
    [[nodiscard]] std::string_view why() const noexcept { return why_; }

private:
    explicit TlsConnection(UniqueFd socket) noexcept : socket_(std::move(socket)) {}
    [[nodiscard]] ByteVector transcript_hash() const override;

    static ssize_t pull(void* self, void* into, std::size_t size) noexcept;
    static ssize_t push(void* self, const void* bytes, std::size_t size) noexcept;
    static int on_message(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                          const gnutls_datum_t* body) noexcept;

    void begin_turn() noexcept;
    void end_turn();
    TlsStep write_out(ByteView bytes);
    TlsStep fail(std::string_view why) noexcept;

    UniqueFd socket_;
    std::unique_ptr<gnutls_session_int, FreeWith<gnutls_deinit>> session_;
    Transcript transcript_;
    ByteView
        raw_{};  // bytes of the socket that GnuTLS has not taken yet, in the thread's buffer or in saved_
    ByteVector saved_;       // the same between turns
    ByteVector waiting_;     // records that the kernel did not take yet
    bool may_read_ = false;  // the socket has not been read in this turn
    bool ended_ = false;     // the socket said end of file
    int error_ = 0;          // errno of the socket's failure
    bool too_long_ = false;
    std::string_view why_;
};

}  // namespace virtgate::netd::gate
