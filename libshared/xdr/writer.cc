// SPDX-License-Identifier: LGPL-2.1-or-later
// writer - turn values into XDR.
#include "libshared/xdr/writer.h"

#include <algorithm>
#include <array>
#include <bit>

#include "libshared/base/bytes.h"
#include "libshared/xdr/reader.h"

namespace virtgate::xdr {

void Writer::fail(Flaw flaw) noexcept {
    if (ok()) flaw_ = flaw;
}

tl::expected<std::size_t, Flaw> Writer::finish() const noexcept {
    if (!ok()) return tl::make_unexpected(flaw_);
    return written_;
}

// Every byte goes through here: `bytes`, then `padding` zero bytes (0..3), or nothing at all.
void Writer::put(std::span<const std::byte> bytes, std::size_t padding) {
    if (!ok()) return;
    const std::size_t left = limit_ - written_;
    if (bytes.size() > left || left - bytes.size() < padding) {
        flaw_ = Flaw::no_room;
        return;
    }
    if (vector_ != nullptr) {
        vector_->insert(vector_->end(), bytes.begin(), bytes.end());
        vector_->insert(vector_->end(), padding, std::byte{0});
    } else {
        const auto end =
            std::copy(bytes.begin(), bytes.end(), span_.begin() + static_cast<std::ptrdiff_t>(written_));
        std::fill_n(end, padding, std::byte{0});
    }
    written_ += bytes.size() + padding;
}

void Writer::u32(std::uint32_t value) {
    std::array<std::byte, 4> word;
    store_be32(word.data(), value);
    put(word, 0);
}

void Writer::u64(std::uint64_t value) {
    std::array<std::byte, 8> words;
    store_be32(words.data(), static_cast<std::uint32_t>(value >> 32));
    store_be32(words.data() + 4, static_cast<std::uint32_t>(value));
    put(words, 0);
}

void Writer::f32(float value) { u32(std::bit_cast<std::uint32_t>(value)); }

void Writer::f64(double value) { u64(std::bit_cast<std::uint64_t>(value)); }

void Writer::i32(std::int32_t value, std::int32_t min, std::int32_t max) {
    if (value < min || value > max) fail(Flaw::out_of_range);
    i32(value);
}

void Writer::u32(std::uint32_t value, std::uint32_t min, std::uint32_t max) {
    if (value < min || value > max) fail(Flaw::out_of_range);
    u32(value);
}

void Writer::i64(std::int64_t value, std::int64_t min, std::int64_t max) {
    if (value < min || value > max) fail(Flaw::out_of_range);
    i64(value);
}

void Writer::u64(std::uint64_t value, std::uint64_t min, std::uint64_t max) {
    if (value < min || value > max) fail(Flaw::out_of_range);
    u64(value);
}

void Writer::opaque(std::span<const std::byte> value, std::uint32_t max) {
    if (value.size() > max) return fail(Flaw::string_too_long);
    u32(static_cast<std::uint32_t>(value.size()));
    fixed_opaque(value);
}

void Writer::string(std::string_view value, std::uint32_t max) {
    if (value.find('\0') != value.npos) return fail(Flaw::nul_in_string);
    opaque(as_bytes(value), max);
}

void Writer::name(std::string_view value, std::uint32_t max) {
    if (value.find('\0') == value.npos && has_control_byte(value)) return fail(Flaw::control_in_name);
    string(value, max);
}

void Writer::fixed_opaque(std::span<const std::byte> value) {
    put(value, padded(value.size()) - value.size());
}

void Writer::characters(std::string_view value, std::uint32_t max) {
    count(value.size(), max);
    fixed_characters(value);
}

void Writer::fixed_characters(std::span<const char> value) {
    for (const char c : value) character(c);
}

void Writer::count(std::size_t elements, std::uint32_t max) {
    if (elements > max) return fail(Flaw::array_too_long);
    u32(static_cast<std::uint32_t>(elements));
}

}  // namespace virtgate::xdr
