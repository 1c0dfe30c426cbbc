// SPDX-License-Identifier: LGPL-2.1-or-later
// reader - take XDR values (RFC 4506) out of a span of bytes.
//
// Trust:  the bytes may come from a hostile peer. The first flaw is remembered; from then on every call returns zero
//         or something empty and the position stays, so a decoder needs no check of its own until finish().
// Limits: 4 GiB of input. Nothing is allocated here. Every length is checked against the caller's maximum and against
//         the bytes that are left before anything is returned.
// Owns:   nothing: string views and spans point into the input.
//
// What is accepted is what the schema interpreter (proto/schema.h) accepts: non-zero padding is ignored and any
// non-zero boolean is true, because real clients send both; writing the value again gives the canonical form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

#include "libshared/xdr/flaw.h"

namespace virtgate::xdr {

class Reader {
public:
    explicit Reader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

    // Integers of 4 and 8 bytes, IEEE 754 numbers, booleans.
    [[nodiscard]] std::int32_t i32() noexcept { return static_cast<std::int32_t>(u32()); }
    [[nodiscard]] std::uint32_t u32() noexcept;
    [[nodiscard]] std::int64_t i64() noexcept { return static_cast<std::int64_t>(u64()); }
    [[nodiscard]] std::uint64_t u64() noexcept;
    [[nodiscard]] float f32() noexcept;
    [[nodiscard]] double f64() noexcept;
    [[nodiscard]] bool boolean() noexcept { return u32() != 0; }

    // The same, refused as out_of_range unless min <= value <= max.
    [[nodiscard]] std::int32_t i32(std::int32_t min, std::int32_t max) noexcept;
    [[nodiscard]] std::uint32_t u32(std::uint32_t min, std::uint32_t max) noexcept;
    [[nodiscard]] std::int64_t i64(std::int64_t min, std::int64_t max) noexcept;
    [[nodiscard]] std::uint64_t u64(std::uint64_t min, std::uint64_t max) noexcept;

    // char and short travel as one 4-byte word each; the low 8 or 16 bits count.
    [[nodiscard]] char character() noexcept { return static_cast<char>(u32()); }
    [[nodiscard]] std::uint8_t u8() noexcept { return static_cast<std::uint8_t>(u32()); }
    [[nodiscard]] std::int16_t i16() noexcept { return static_cast<std::int16_t>(u32()); }
    [[nodiscard]] std::uint16_t u16() noexcept { return static_cast<std::uint16_t>(u32()); }

    // Counted bytes of at most `max`: opaque takes any bytes, string no NUL, name no control byte either.
    [[nodiscard]] std::span<const std::byte> opaque(std::uint32_t max) noexcept;
    [[nodiscard]] std::string_view string(std::uint32_t max) noexcept;
    [[nodiscard]] std::string_view name(std::uint32_t max) noexcept;

    // Exactly to.size() bytes and their padding.
    void fixed_opaque(std::span<std::byte> to) noexcept;

    // A counted array of char, one word each (SASL data and security labels travel like that).
    [[nodiscard]] std::string characters(std::uint32_t max);
    void fixed_characters(std::span<char> to) noexcept;

    // The element count of an array: at most `max`, and at least `least` bytes (> 0) per element must be left.
    // So a container of that many elements is never larger than a fixed multiple of the input.
    [[nodiscard]] std::uint32_t count(std::uint32_t max, std::uint32_t least) noexcept;

    // Records a flaw at the current position unless there is one already.
    void fail(Flaw flaw) noexcept;

    [[nodiscard]] bool ok() const noexcept { return flaw_ == Flaw::none; }
    [[nodiscard]] Flaw flaw() const noexcept { return flaw_; }
    // Bytes taken so far; after a flaw, where the flawed value starts.
    [[nodiscard]] std::size_t offset() const noexcept { return at_; }
    [[nodiscard]] std::size_t left() const noexcept { return ok() ? bytes_.size() - at_ : 0; }

    // What was wrong, left-over bytes included; Flaw::none if nothing was.
    [[nodiscard]] Flaw close() noexcept {
        if (ok() && at_ != bytes_.size()) fail(Flaw::trailing_bytes);
        return flaw_;
    }

    // Releases `value` if nothing was wrong and no byte is left over.
    template <class T>
    [[nodiscard]] tl::expected<T, Flaw> finish(T value) noexcept {
        if (close() != Flaw::none) return tl::make_unexpected(flaw_);
        return value;
    }

private:
    [[nodiscard]] const std::byte* take(std::size_t size) noexcept;

    std::span<const std::byte> bytes_;
    std::size_t at_ = 0;
    Flaw flaw_ = Flaw::none;
};

// True if a byte of `text` is a control byte: 0x00..0x1f or 0x7f.
[[nodiscard]] bool has_control_byte(std::string_view text) noexcept;

// `size` rounded up to whole words. `size` < 2^32 - 3.
[[nodiscard]] constexpr std::size_t padded(std::size_t size) noexcept { return (size + 3) & ~std::size_t{3}; }

}  // namespace virtgate::xdr
