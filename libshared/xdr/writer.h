// SPDX-License-Identifier: LGPL-2.1-or-later
// writer - turn values into XDR (RFC 4506): big endian, 4-byte units, zero padding.
//
// Trust:  values are our own, but may have been copied from a peer's: every bound of the type is checked again, so
//         that what is written can always be read. The first flaw is remembered; nothing is written after it.
// Limits: the caller's: a maximum number of bytes, or the size of its span.
// Owns:   nothing: it appends to the caller's vector or fills the caller's span.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "libshared/xdr/flaw.h"

namespace virtgate::xdr {

class Writer {
public:
    // Appends to `to` at most `limit` bytes.
    Writer(std::vector<std::byte>& to, std::size_t limit) noexcept : vector_(&to), limit_(limit) {}
    // Fills `to` from its start.
    explicit Writer(std::span<std::byte> to) noexcept : span_(to), limit_(to.size()) {}

    void i32(std::int32_t value) { u32(static_cast<std::uint32_t>(value)); }
    void u32(std::uint32_t value);
    void i64(std::int64_t value) { u64(static_cast<std::uint64_t>(value)); }
    void u64(std::uint64_t value);
    void f32(float value);
    void f64(double value);
    void boolean(bool value) { u32(value ? 1 : 0); }

    // Refused as out_of_range unless min <= value <= max.
    void i32(std::int32_t value, std::int32_t min, std::int32_t max);
    void u32(std::uint32_t value, std::uint32_t min, std::uint32_t max);
    void i64(std::int64_t value, std::int64_t min, std::int64_t max);
    void u64(std::uint64_t value, std::uint64_t min, std::uint64_t max);

    // One word each. char is sign extended, on every platform.
    void character(char value) { i32(static_cast<signed char>(value)); }
    void u8(std::uint8_t value) { u32(value); }
    void i16(std::int16_t value) { i32(value); }
    void u16(std::uint16_t value) { u32(value); }

    // Counted bytes of at most `max`. string refuses NUL, name control bytes.
    void opaque(std::span<const std::byte> value, std::uint32_t max);
    void string(std::string_view value, std::uint32_t max);
    void name(std::string_view value, std::uint32_t max);

    // The bytes and their padding, without a count.
    void fixed_opaque(std::span<const std::byte> value);

    // A counted array of char, one word each; and one without its count.
    void characters(std::string_view value, std::uint32_t max);
    void fixed_characters(std::span<const char> value);

    // The element count of an array of at most `max` elements.
    void count(std::size_t elements, std::uint32_t max);

    // Records a flaw unless there is one already.
    void fail(Flaw flaw) noexcept;

    [[nodiscard]] bool ok() const noexcept { return flaw_ == Flaw::none; }
    [[nodiscard]] Flaw flaw() const noexcept { return flaw_; }

    // How many bytes were written, if nothing was wrong. After a flaw the bytes written before it are still in the
    // vector or span: drop them.
    [[nodiscard]] tl::expected<std::size_t, Flaw> finish() const noexcept;

private:
    void put(std::span<const std::byte> bytes, std::size_t padding);

    std::vector<std::byte>* vector_ = nullptr;
    std::span<std::byte> span_;
    std::size_t limit_;
    std::size_t written_ = 0;
    Flaw flaw_ = Flaw::none;
};

}  // namespace virtgate::xdr
