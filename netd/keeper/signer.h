// SPDX-License-Identifier: LGPL-2.1-or-later
// signer - the private key, and the only kind of signature that it makes.
//
// It signs the content of a TLS 1.3 server's CertificateVerify, which it builds itself around a transcript
// hash. So whoever may ask it cannot get a client's signature, a TLS 1.2 key exchange, or anything else that
// a certificate's key is good for.
//
// Trust:  who asks may be taken over. The key's file is the administrator's.
// Limits: keys of at most k_key_file_max bytes; RSA, RSA-PSS, ECDSA (P-256, P-384, P-521), Ed25519, Ed448;
//         not encrypted with a passphrase.
// Owns:   the key. The text that it was read from is wiped.
// Source: RFC 8446 section 4.4.3.
#pragma once

#include <gnutls/abstract.h>

#include "libshared/base/bytes.h"
#include "libshared/base/handle.h"
#include "libshared/base/result.h"

namespace virtgate::netd::keeper {

inline constexpr std::size_t k_key_file_max = 65536;

class Signer {
public:
    // Reads the PEM key from the file `fd` (borrowed). `certificate` is the PEM text whose first certificate
    // the key has to belong to; empty: not compared. Error: system's fault.
    static Result<Signer> load(int fd, std::string_view certificate);

    // The signature over the CertificateVerify content of a server whose transcript hash is `hash`, with
    // `scheme` (a number of RFC 8446 section 4.2.3). Error: peer's fault, if the scheme is unknown or does
    // not fit the key, or the hash is neither SHA-256's nor SHA-384's size.
    Result<ByteVector> sign(std::uint32_t scheme, ByteView hash) const;

    // "RSA, 2048 bits", for the log.
    [[nodiscard]] std::string describe() const;

private:
    using Key = std::unique_ptr<gnutls_privkey_st, FreeWith<gnutls_privkey_deinit>>;
    using PublicKey = std::unique_ptr<gnutls_pubkey_st, FreeWith<gnutls_pubkey_deinit>>;
    Signer(Key key, PublicKey public_key) : key_(std::move(key)), public_key_(std::move(public_key)) {}

    Key key_;
    PublicKey public_key_;
};

// What a server signs: 64 spaces, the context string, a zero byte and `hash`.
[[nodiscard]] ByteVector server_signed_content(ByteView hash);

}  // namespace virtgate::netd::keeper
