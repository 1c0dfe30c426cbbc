// SPDX-License-Identifier: LGPL-2.1-or-later
// connection - TLS 1.3 on one client socket, in steps that never wait.
//
// GnuTLS works on memory here: one recv() fills a buffer that all connections of a thread share, GnuTLS takes
// records out of it, and the records that it makes are collected and leave with one send(). So a turn costs one
// system call in each direction whatever the number of records, and an idle connection owns no buffer.
//
// Trust:  everything from the peer is hostile; GnuTLS stands between.
// Limits: see connection.h.
// Owns:   the socket and the GnuTLS session.
#pragma once

#include <gnutls/gnutls.h>

#include <array>
#include <memory>

#include "libshared/base/fd.h"
#include "libshared/base/handle.h"
#include "netd/gate/backlog.h"
#include "netd/gate/connection.h"
#include "netd/gate/tls/credentials.h"
#include "netd/gate/tls/transcript.h"

namespace virtgate::netd::gate {

class TlsConnection final : public Connection, private SigningContext {
public:
    static constexpr std::size_t k_record_max = 16384;
    using Random = std::array<std::byte, 32>;
    // Whether clients are asked for a certificate.
    enum class Ask : bool { nothing, certificate };

    // Starts TLS as server on `socket` (connected, non-blocking). `random` becomes the server's random; doorman
    // gave it. `credentials` have to outlive the connection.
    // Error: system's fault, no memory.
    [[nodiscard]] static Result<std::unique_ptr<TlsConnection>> make(const Credentials& credentials,
                                                                     UniqueFd socket, const Random& random,
                                                                     Ask ask);
    ~TlsConnection() override;

    // Goes on with the handshake. After done, transcript() has the client's proof.
    [[nodiscard]] Step handshake();
    [[nodiscard]] Transcript& transcript() noexcept { return transcript_; }
    // Of the cipher that was negotiated, in bits. After the handshake.
    [[nodiscard]] unsigned strength() const noexcept;

    Step receive(MutableBytes into, std::size_t& size) override;
    Step receive_some(MutableBytes into, std::size_t& size) override;
    bool has_input() const noexcept override;
    void begin_records() noexcept override;
    Step add_records(ByteView bytes) override;
    Step send_records() override;
    Step flush() override;
    bool has_output() const noexcept override { return !waiting_.empty(); }
    void bye() noexcept override;
    int socket() const noexcept override { return socket_.get(); }
    UniqueFd release_socket() noexcept override { return std::move(socket_); }
    std::string_view why() const noexcept override { return why_; }

private:
    explicit TlsConnection(UniqueFd socket) noexcept : socket_(std::move(socket)) {}
    [[nodiscard]] ByteVector transcript_hash() const override;

    static ssize_t pull(void* self, void* into, std::size_t size) noexcept;
    static ssize_t push(void* self, const void* bytes, std::size_t size) noexcept;
    static int on_message(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                          const gnutls_datum_t* body) noexcept;

    void begin_turn() noexcept;
    void end_turn();
    Step read_record(MutableBytes into, std::size_t& size);
    Step write_out(ByteView bytes);
    Step write(ByteView& bytes) noexcept;
    Step fail(std::string_view why) noexcept;

    UniqueFd socket_;
    std::unique_ptr<gnutls_session_int, FreeWith<gnutls_deinit>> session_;
    Transcript transcript_;
    ByteView
        raw_{};  // bytes of the socket that GnuTLS has not taken yet, in the thread's buffer or in saved_
    ByteVector saved_;       // the same between turns
    Backlog waiting_;        // records that the kernel did not take yet
    bool may_read_ = false;  // the socket has not been read in this turn
    bool ended_ = false;     // the socket said end of file
    int error_ = 0;          // errno of the socket's failure
    bool too_long_ = false;
    std::string_view why_;
};

}  // namespace virtgate::netd::gate
