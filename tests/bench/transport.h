// SPDX-License-Identifier: LGPL-2.1-or-later
// transport - one non-blocking connection of the load generator, over a UNIX socket or TLS.
//
// It costs as little CPU as it can, since it shares the machine with what it measures: one recv() fetches up
// to 64 KiB into a buffer that all connections of a thread share, and GnuTLS reads its records from there.
#pragma once

#include <gnutls/gnutls.h>

#include <memory>
#include <string>
#include <string_view>

#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"
#include "libshared/base/handle.h"

namespace virtgate::bench {

using TlsCredentials = std::unique_ptr<std::remove_pointer_t<gnutls_certificate_credentials_t>,
                                       FreeWith<gnutls_certificate_free_credentials>>;
using TlsSession = std::unique_ptr<gnutls_session_int, FreeWith<gnutls_deinit>>;

// Where to connect. One per process, shared by all connections, read-only once parsed.
struct Target {
    std::string socket;  // path of a UNIX socket; empty for TLS
    std::string host;    // TLS: an IPv4 address, and the name that the server's certificate must bear
    int port = 0;        // TLS
    TlsCredentials credentials;
};

// Reads "unix:PATH" or "tls:ADDRESS:PORT:PKIDIR", where PKIDIR holds cacert.pem, clientcert.pem and
// clientkey.pem.
Result<Target> parse_target(std::string_view text);

class Transport {
public:
    enum class Step { done, again, failed };

    // Starts to connect. `target` must outlive the object.
    Done start(const Target& target);

    // Continues the TLS handshake and reads the server's confirmation byte. At once `done` on a UNIX socket.
    Step handshake();

    // Sends `bytes`, or keeps what the socket does not take now for flush(). False: the connection is broken.
    bool send(ByteView bytes);
    // Keeps `bytes` for the next flush().
    void queue(ByteView bytes);
    bool flush();
    // Bytes that wait for a writable socket.
    [[nodiscard]] std::size_t pending() const noexcept { return out_.size() - out_at_; }

    // Reads what one recv() brings and hands it on in one or more pieces. False: closed or broken.
    // `Sink` is called as sink(ByteView) and must not destroy the transport.
    template <class Sink>
    bool receive(Sink&& sink) {
        if (!fill()) return false;
        for (;;) {
            const ByteView piece = next_piece();
            if (piece.empty()) return !broken_;
            sink(piece);
        }
    }

    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

private:
    bool fill();            // one recv() into the thread's buffer
    ByteView next_piece();  // clear bytes, or empty when all is used up
    ssize_t write_some(ByteView bytes);
    static ssize_t pull(gnutls_transport_ptr_t self, void* data, size_t size) noexcept;

    UniqueFd fd_;
    TlsSession tls_;
    ByteView in_;  // unread part of the thread's buffer
    ByteVector out_;
    std::size_t out_at_ = 0;
    bool record_pending_ = false;  // GnuTLS holds an encrypted record that the socket did not take
    bool shaken_ = false;
    bool broken_ = false;
};

}  // namespace virtgate::bench
