// SPDX-License-Identifier: LGPL-2.1-or-later
// scram - what is stored of a password so that SCRAM can check it, and nobody can read it back.
//
// A verifier lets its holder check a password, and try passwords offline; it does not let him log in
// anywhere else.
// Source: RFC 5802 (the keys), RFC 5803 (the text: MECHANISM$ITERATIONS:SALT$STOREDKEY:SERVERKEY).
//
// Trust:  verifiers are read from a file of the administrator's; a damaged one is refused.
// Limits: k_iterations_min .. k_iterations_max.
#pragma once

#include <optional>

#include "libshared/userdb/crypto.h"

namespace virtgate::userdb {

// RFC 7677 asks for at least 4096.
inline constexpr std::uint32_t k_iterations_min = 4096;
// The server stretches nothing for SCRAM, the client does at every login, and for a checked PLAIN password
// we do.
inline constexpr std::uint32_t k_iterations_max = 10'000'000;
inline constexpr std::size_t k_salt_size = 16;

struct Verifier {
    Hash hash = Hash::sha256;
    std::uint32_t iterations = 0;
    ByteVector salt, stored_key, server_key;
};

// "SCRAM-SHA-256" and so on, and back; empty if `mechanism` is none of the three.
[[nodiscard]] std::string_view mechanism_of(Hash hash) noexcept;
[[nodiscard]] std::optional<Hash> hash_of(std::string_view mechanism) noexcept;

// A verifier of `password` (not changed in any way) with a fresh salt. Error: system's fault.
[[nodiscard]] Result<Verifier> make_verifier(Hash hash, std::string_view password, std::uint32_t iterations);

// A verifier that no password fits, for a user who does not exist: its salt depends on `key` and `name`
// alone, so that whoever asks twice sees the same.
[[nodiscard]] Verifier make_decoy(Hash hash, ByteView key, std::string_view name, std::uint32_t iterations);

// Does `password` fit? As slow as making the verifier was. Error: system's fault.
[[nodiscard]] Result<bool> fits(const Verifier& verifier, std::string_view password);

// RFC 5803's text, without optional spaces, and back. Error: peer's fault, with what is wrong.
[[nodiscard]] std::string to_text(const Verifier& verifier);
[[nodiscard]] Result<Verifier> parse_verifier(std::string_view text);

}  // namespace virtgate::userdb
