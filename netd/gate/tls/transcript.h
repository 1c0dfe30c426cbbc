// SPDX-License-Identifier: LGPL-2.1-or-later
// transcript - the messages of one TLS 1.3 handshake, as they were on the wire.
//
// Two things are made of them: the hash that the keeper signs for us (up to our Certificate), and the proof for
// doorman that the client holds its private key (up to the client's Certificate, and its CertificateVerify).
//
// Trust:  the messages come from the peer and from GnuTLS; nothing in them is interpreted here but the type.
// Limits: k_transcript_max bytes; a longer handshake is refused.
// Source: RFC 8446 section 4.4.1 (transcript hash; message_hash after a HelloRetryRequest).
#pragma once

#include "libshared/base/bytes.h"
#include "libshared/base/result.h"

namespace virtgate::netd::gate {

class Transcript {
public:
    static constexpr std::size_t k_transcript_max = 57344;
    static constexpr std::size_t k_certificate_verify_max = 2048;

    // Adds a handshake message that is sent or received: GnuTLS's number for its `type`, and its `body` without the
    // four-byte header.
    // False if the handshake has become too long; it has to end then.
    [[nodiscard]] bool add(unsigned type, bool incoming, ByteView body);

    // The messages so far, each with its header.
    [[nodiscard]] ByteView bytes() const noexcept { return bytes_; }
    // The transcript hash of the messages so far with the hash `algorithm` (a gnutls_digest_algorithm_t): what a
    // CertificateVerify at this point covers. Empty if there has been no ClientHello.
    [[nodiscard]] ByteVector hash(int algorithm) const;
    // The messages up to the client's Certificate, and the body of its CertificateVerify; empty if the client sent
    // none (a client without a certificate).
    [[nodiscard]] ByteView client_part() const noexcept { return ByteView(bytes_).first(client_end_); }
    [[nodiscard]] ByteView certificate_verify() const noexcept { return certificate_verify_; }

    // Frees all.
    void clear() noexcept;

private:
    ByteVector bytes_;
    std::size_t first_hello_ = 0;  // size of the ClientHello that a HelloRetryRequest answered, or 0
    std::size_t client_end_ = 0;
    ByteVector certificate_verify_;
};

}  // namespace virtgate::netd::gate
