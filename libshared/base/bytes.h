// SPDX-License-Identifier: LGPL-2.1-or-later
// bytes - views of memory, big-endian words, and text made safe for a log.
//
// Trust:  everything read through these functions may come from a hostile peer.
// Limits: load and store need four (eight) bytes at the given place; the caller has checked that.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace virtgate {

using ByteView = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;
using ByteVector = std::vector<std::byte>;

// The 32-bit big-endian word at `at`.
[[nodiscard]] inline std::uint32_t load_be32(const std::byte* at) noexcept {
    std::uint32_t word;
    std::memcpy(&word, at, sizeof word);
    return std::endian::native == std::endian::little ? __builtin_bswap32(word) : word;
}

// The 64-bit big-endian word at `at`.
[[nodiscard]] inline std::uint64_t load_be64(const std::byte* at) noexcept {
    return (std::uint64_t{load_be32(at)} << 32) | load_be32(at + 4);
}

// Writes `word` at `at`, big-endian.
inline void store_be32(std::byte* at, std::uint32_t word) noexcept {
    if (std::endian::native == std::endian::little) word = __builtin_bswap32(word);
    std::memcpy(at, &word, sizeof word);
}

// True if `part` lies inside `whole`.
[[nodiscard]] inline bool lies_in(ByteView part, ByteView whole) noexcept {
    return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}

// Views of text as bytes and of bytes as text. They live as long as what they view.
[[nodiscard]] ByteView as_bytes(std::string_view text) noexcept;
[[nodiscard]] std::string_view as_text(ByteView bytes) noexcept;

// `text` with control characters, invisible ones, line breaks, changes of direction, quotes, backslashes and
// bytes that are not UTF-8 as \xNN, cut to at most `limit` bytes (then it ends in "..."). For anything that a peer
// chose and a person will read: a log line cannot be forged with it.
[[nodiscard]] std::string escape(std::string_view text, std::size_t limit = 256);

// True if `text` is well-formed UTF-8 without control characters (NUL, C0, DEL and C1): what a name may be.
[[nodiscard]] bool is_plain_text(std::string_view text) noexcept;

// The bytes in lower-case hexadecimal digits.
[[nodiscard]] std::string to_hex(ByteView bytes);

// The same text with the letters a to z, and no others, in the other case.
[[nodiscard]] std::string to_lower(std::string_view text);
[[nodiscard]] std::string to_upper(std::string_view text);

}  // namespace virtgate
