// SPDX-License-Identifier: LGPL-2.1-or-later
// crypto - the few functions that salted verifiers are made of, from GnuTLS.
//
// Trust:  passwords and keys pass through here. Nothing is kept; what a caller gets it has to wipe itself.
// Limits: none of these can fail with the arguments that are used here, except where a result says so: a
//         machine in FIPS mode refuses MD5, and short passwords.
// Owns:   nothing.
#pragma once

#include <string>
#include <string_view>

#include "libshared/base/bytes.h"
#include "libshared/base/result.h"

namespace virtgate::userdb {

enum class Hash : unsigned char { sha1, sha256, sha512 };

// Bytes of a hash value: 20, 32, 64.
[[nodiscard]] std::size_t size_of(Hash hash) noexcept;

[[nodiscard]] ByteVector digest(Hash hash, ByteView text);

// The same of a text that comes in pieces.
// Owns: GnuTLS's state.
class Digester {
public:
    explicit Digester(Hash hash);
    Digester(const Digester&) = delete;
    Digester& operator=(const Digester&) = delete;
    ~Digester();

    void add(ByteView piece);
    // Once, after the last piece.
    [[nodiscard]] ByteVector finish();

private:
    Hash hash_;
    void* state_ = nullptr;
};

[[nodiscard]] ByteVector hmac(Hash hash, ByteView key, ByteView text);

// PBKDF2 with HMAC, one block: size_of(hash) bytes. Costs `iterations` times two compressions.
// Error: system's fault, if the library refuses.
[[nodiscard]] Result<ByteVector> stretch(Hash hash, std::string_view password, ByteView salt,
                                         std::uint32_t iterations);

// 16 bytes of MD5, which DIGEST-MD5 (RFC 2831) is built on. Error: system's fault, if the library refuses
// MD5.
[[nodiscard]] Result<ByteVector> md5(ByteView text);

// From the kernel's generator.
[[nodiscard]] ByteVector random_bytes(std::size_t size);

// True if both are the same, in a time that does not tell where they differ.
[[nodiscard]] bool same_secret(ByteView a, ByteView b) noexcept;

// Overwrites the bytes, and the compiler cannot leave that out.
void wipe(MutableBytes bytes) noexcept;
void wipe(std::string& text) noexcept;

// RFC 4648, with padding and without line breaks.
[[nodiscard]] std::string to_base64(ByteView bytes);
// Error: peer's fault, if it is anything but the one right spelling of some bytes.
[[nodiscard]] Result<ByteVector> from_base64(std::string_view text);

}  // namespace virtgate::userdb
