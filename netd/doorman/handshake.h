// SPDX-License-Identifier: LGPL-2.1-or-later
// handshake - read the transcript of a TLS 1.3 handshake that a gate presents as proof.
//
// The messages have to be exactly those of a full handshake in which the server asks for a certificate:
//
//     ClientHello [HelloRetryRequest ClientHello] ServerHello EncryptedExtensions CertificateRequest
//     Certificate CertificateVerify Finished · Certificate (of the client)
//
// Resumption, early data and TLS 1.2 do not fit and are refused. Only what is used is interpreted; whether
// GnuTLS in the gate liked the rest does not matter: the client's signature covers every byte.
//
// Trust:  the gate may be taken over, and the client chose a part of the bytes.
// Limits: k_chain_max certificates of k_chain_bytes_max bytes together.
// Owns:   nothing: everything points into the transcript.
// Source: RFC 8446 sections 4 (messages), 4.1.4 (HelloRetryRequest), 4.4.1 (transcript hash), B.4 (cipher
//         suites).
#pragma once

#include <cstdint>
#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/base/result.h"

namespace virtgate::netd::doorman {

inline constexpr std::size_t k_chain_max = 8;
inline constexpr std::size_t k_chain_bytes_max = 49152;
inline constexpr std::size_t k_random_size = 32;

enum class Hash : unsigned char { sha256, sha384 };
[[nodiscard]] constexpr std::size_t hash_size(Hash hash) noexcept { return hash == Hash::sha256 ? 32 : 48; }

struct Handshake {
    ByteView transcript;  // all of it
    std::size_t first_hello_size =
        0;                        // with a HelloRetryRequest: the first ClientHello, header included; else 0
    Hash hash = Hash::sha256;     // of the cipher suite that was agreed
    unsigned strength = 0;        // of its cipher, in bits
    ByteView server_random;       // k_random_size bytes, of the ServerHello that counts
    ByteView server_certificate;  // DER: the first of the server's chain
    std::vector<ByteView> client_chain;  // DER: 1..k_chain_max, the client's own first
};

// Reads `transcript`, which must outlive the result. Error: peer's fault, with the rule that is broken.
Result<Handshake> read_handshake(ByteView transcript);

// The body of a CertificateVerify message.
struct CertificateVerify {
    std::uint16_t scheme = 0;
    ByteView signature;
};
Result<CertificateVerify> read_certificate_verify(ByteView body);

}  // namespace virtgate::netd::doorman
