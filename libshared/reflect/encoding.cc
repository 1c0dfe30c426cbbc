// SPDX-License-Identifier: LGPL-2.1-or-later
// encoding - bytes as text: base64, hexadecimal digits, UUIDs; and whether bytes are text.
#include "libshared/reflect/encoding.h"

namespace virtgate::reflect {

namespace {

constexpr std::string_view k_alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// How many bytes the character that `text` begins with has; 0 if it is malformed.
std::size_t length_of_character(std::string_view text) noexcept {
    const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
    const unsigned first = byte(0);
    if (first < 0x80) return 1;
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
    for (std::size_t i = 1; i < length; ++i)
        if ((byte(i) & 0xc0U) != 0x80) return 0;
    // Longer than needed, surrogates, beyond the last character.
    const unsigned second = byte(1);
    const bool wrong = (first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
                       (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f);
    return wrong ? 0 : length;
}

}  // namespace

std::string to_base64(ByteView bytes) {
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        const std::size_t there = std::min<std::size_t>(3, bytes.size() - at);
        std::uint32_t word = 0;
        for (std::size_t i = 0; i < 3; ++i)
            word = word << 8 | (i < there ? std::to_integer<std::uint32_t>(bytes[at + i]) : 0);
        for (std::size_t i = 0; i < 4; ++i)
            text += i <= there ? k_alphabet[word >> (18 - 6 * i) & 0x3f] : '=';
    }
    return text;
}

std::optional<ByteVector> from_base64(std::string_view text) {
    if (text.size() % 4 != 0) return std::nullopt;
    ByteVector bytes;
    for (std::size_t at = 0; at < text.size(); at += 4) {
        std::string_view group = text.substr(at, 4);
        if (at + 4 == text.size())
            while (group.size() > 2 && group.back() == '=') group.remove_suffix(1);
        std::uint32_t word = 0;
        for (const char c : group) {
            const std::size_t digit = k_alphabet.find(c);
            if (digit == std::string_view::npos) return std::nullopt;
            word = word << 6 | static_cast<std::uint32_t>(digit);
        }
        word <<= 6 * (4 - group.size());
        for (std::size_t i = 0; i + 1 < group.size(); ++i)
            bytes.push_back(static_cast<std::byte>(word >> (16 - 8 * i)));
        // Bits that belong to no byte: another text would mean the same.
        if ((word & (0xffffffU >> (8 * (group.size() - 1)))) != 0 && group.size() < 4) return std::nullopt;
    }
    return bytes;
}

std::optional<ByteVector> from_hex(std::string_view text) {
    if (text.size() % 2 != 0) return std::nullopt;
    ByteVector bytes;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        const int high = digit_of(text[i]), low = digit_of(text[i + 1]);
        if (high < 0 || low < 0) return std::nullopt;
        bytes.push_back(static_cast<std::byte>(high * 16 + low));
    }
    return bytes;
}

std::string to_uuid(ByteView bytes) {
    std::string text = to_hex(bytes);
    for (const std::size_t at : {8U, 13U, 18U, 23U}) text.insert(at, 1, '-');
    return text;
}

std::optional<ByteVector> from_uuid(std::string_view text) {
    std::string digits;
    for (const char c : text)
        if (c != '-') digits += c;
    auto bytes = from_hex(digits);
    if (!bytes || bytes->size() != k_uuid_bytes) return std::nullopt;
    return bytes;
}

bool is_utf8(std::string_view text) noexcept {
    while (!text.empty()) {
        const std::size_t length = length_of_character(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

}  // namespace virtgate::reflect
