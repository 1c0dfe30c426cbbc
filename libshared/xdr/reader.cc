// SPDX-License-Identifier: LGPL-2.1-or-later
// reader - take XDR values out of a span of bytes.
#include "libshared/xdr/reader.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "libshared/base/bytes.h"

namespace virtgate::xdr {

bool has_control_byte(std::string_view text) noexcept {
    return std::any_of(text.begin(), text.end(), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte < 0x20 || byte == 0x7f;
    });
}

void Reader::fail(Flaw flaw) noexcept {
    if (ok()) flaw_ = flaw;
}

// `size` bytes at the current position, or null: then the flaw is recorded.
const std::byte* Reader::take(std::size_t size) noexcept {
    if (!ok()) return nullptr;
    if (bytes_.size() - at_ < size) {
        flaw_ = Flaw::truncated;
        return nullptr;
    }
    const std::byte* from = bytes_.data() + at_;
    at_ += size;
    return from;
}

std::uint32_t Reader::u32() noexcept {
    const std::byte* from = take(4);
    return from == nullptr ? 0 : load_be32(from);
}

std::uint64_t Reader::u64() noexcept {
    const std::byte* from = take(8);
    return from == nullptr ? 0 : load_be64(from);
}

float Reader::f32() noexcept { return std::bit_cast<float>(u32()); }

double Reader::f64() noexcept { return std::bit_cast<double>(u64()); }

std::int32_t Reader::i32(std::int32_t min, std::int32_t max) noexcept {
    const std::int32_t value = i32();
    if (ok() && (value < min || value > max)) {
        at_ -= 4;
        fail(Flaw::out_of_range);
    }
    return ok() ? value : 0;
}

std::uint32_t Reader::u32(std::uint32_t min, std::uint32_t max) noexcept {
    const std::uint32_t value = u32();
    if (ok() && (value < min || value > max)) {
        at_ -= 4;
        fail(Flaw::out_of_range);
    }
    return ok() ? value : 0;
}

std::int64_t Reader::i64(std::int64_t min, std::int64_t max) noexcept {
    const std::int64_t value = i64();
    if (ok() && (value < min || value > max)) {
        at_ -= 8;
        fail(Flaw::out_of_range);
    }
    return ok() ? value : 0;
}

std::uint64_t Reader::u64(std::uint64_t min, std::uint64_t max) noexcept {
    const std::uint64_t value = u64();
    if (ok() && (value < min || value > max)) {
        at_ -= 8;
        fail(Flaw::out_of_range);
    }
    return ok() ? value : 0;
}

std::span<const std::byte> Reader::opaque(std::uint32_t max) noexcept {
    const std::size_t start = at_;
    const std::uint32_t size = u32();
    if (!ok()) return {};
    if (size > max)
        fail(Flaw::string_too_long);
    else if (bytes_.size() - at_ < padded(size))
        fail(Flaw::truncated);
    if (!ok()) {
        at_ = start;
        return {};
    }
    const auto body = bytes_.subspan(at_, size);
    at_ += padded(size);
    return body;
}

std::string_view Reader::string(std::uint32_t max) noexcept {
    const std::size_t start = at_;
    const auto body = opaque(max);
    const std::string_view text = as_text(body);
    if (text.find('\0') != text.npos) {
        at_ = start;
        fail(Flaw::nul_in_string);
        return {};
    }
    return text;
}

std::string_view Reader::name(std::uint32_t max) noexcept {
    const std::size_t start = at_;
    const std::string_view text = string(max);
    if (has_control_byte(text)) {
        at_ = start;
        fail(Flaw::control_in_name);
        return {};
    }
    return text;
}

void Reader::fixed_opaque(std::span<std::byte> to) noexcept {
    const std::byte* from = take(padded(to.size()));
    if (from == nullptr)
        std::fill(to.begin(), to.end(), std::byte{0});
    else if (!to.empty())
        std::memcpy(to.data(), from, to.size());
}

std::string Reader::characters(std::uint32_t max) {
    std::string text(count(max, 4), '\0');
    fixed_characters(text);
    return text;
}

void Reader::fixed_characters(std::span<char> to) noexcept {
    for (char& c : to) c = character();
}

std::uint32_t Reader::count(std::uint32_t max, std::uint32_t least) noexcept {
    const std::size_t start = at_;
    const std::uint32_t elements = u32();
    if (!ok()) return 0;
    if (elements > max)
        fail(Flaw::array_too_long);
    else if ((bytes_.size() - at_) / least < elements)
        fail(Flaw::truncated);
    if (!ok()) {
        at_ = start;
        return 0;
    }
    return elements;
}

}  // namespace virtgate::xdr
