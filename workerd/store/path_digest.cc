// SPDX-License-Identifier: LGPL-2.1-or-later
// path_digest - the name of a path in a lock space.
#include "workerd/store/path_digest.h"

#include <array>
#include <bit>

#include "libshared/base/bytes.h"

namespace virtgate::workerd::store {

namespace {

constexpr std::size_t k_block = 64, k_rounds = 64, k_words = 8;
using State = std::array<std::uint32_t, k_words>;

// The first 32 bits of the fractions of the cube roots of the first 64 primes.
constexpr std::array<std::uint32_t, k_rounds> k_constants{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

void take_block(State& state, const std::byte* block) noexcept {
    std::array<std::uint32_t, k_rounds> w;
    for (std::size_t i = 0; i < 16; ++i) w[i] = load_be32(block + 4 * i);
    for (std::size_t i = 16; i < k_rounds; ++i) {
        const std::uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ (a >> 3)) +
               (std::rotr(b, 17) ^ std::rotr(b, 19) ^ (b >> 10));
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t i = 0; i < k_rounds; ++i) {
        const std::uint32_t one = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) +
                                  ((e & f) ^ (~e & g)) + k_constants[i] + w[i];
        const std::uint32_t two =
            (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
    }
    const State mixed{a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < k_words; ++i) state[i] += mixed[i];
}

}  // namespace

std::string digest_of(std::string_view text) {
    constexpr std::size_t k_length = 8;  // of the length at the end, in bytes
    const ByteView bytes = as_bytes(text);
    ByteVector padded(bytes.begin(), bytes.end());
    padded.push_back(std::byte{0x80});
    padded.resize((padded.size() + k_length + k_block - 1) / k_block * k_block);
    const std::uint64_t bits = std::uint64_t{8} * text.size();
    store_be32(padded.data() + padded.size() - 8, static_cast<std::uint32_t>(bits >> 32));
    store_be32(padded.data() + padded.size() - 4, static_cast<std::uint32_t>(bits));
    // The same of the square roots of the first 8 primes.
    State state{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    for (std::size_t at = 0; at < padded.size(); at += k_block) take_block(state, padded.data() + at);
    std::array<std::byte, 4 * k_words> digest;
    for (std::size_t i = 0; i < k_words; ++i) store_be32(digest.data() + 4 * i, state[i]);
    return to_hex(digest);
}

}  // namespace virtgate::workerd::store
