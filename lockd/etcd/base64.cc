// SPDX-License-Identifier: LGPL-2.1-or-later
// base64 - bytes in the text of JSON, as etcd's gateway writes keys and values.
#include "lockd/etcd/base64.h"

#include <array>
#include <cstdint>

namespace virtgate::lockd::etcd {

namespace {

constexpr std::string_view k_letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::int8_t k_none = -1;

constexpr auto k_values = [] {
    std::array<std::int8_t, 256> values{};
    values.fill(k_none);
    for (std::size_t i = 0; i < k_letters.size(); ++i)
        values.at(static_cast<unsigned char>(k_letters[i])) = static_cast<std::int8_t>(i);
    return values;
}();

}  // namespace

std::string encode_base64(std::string_view bytes) {
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t n = std::min<std::size_t>(3, bytes.size() - i);
        std::uint32_t group = 0;
        for (std::size_t k = 0; k < 3; ++k)
            group = group << 8 | (k < n ? static_cast<unsigned char>(bytes[i + k]) : 0U);
        for (std::size_t k = 0; k < 4; ++k)
            text.push_back(k <= n ? k_letters[group >> (18 - 6 * k) & 63U] : '=');
    }
    return text;
}

std::optional<std::string> decode_base64(std::string_view text) {
    if (text.size() % 4 != 0) return std::nullopt;
    std::size_t padding = 0;
    while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
    std::string bytes;
    bytes.reserve(text.size() / 4 * 3);
    std::uint32_t bits = 0;
    unsigned count = 0;
    for (const char letter : text.substr(0, text.size() - padding)) {
        const std::int8_t value = k_values.at(static_cast<unsigned char>(letter));
        if (value == k_none) return std::nullopt;
        bits = (bits << 6 | static_cast<std::uint32_t>(value)) & 0xffffffU;
        count += 6;
        if (count < 8) continue;
        count -= 8;
        bytes.push_back(static_cast<char>(bits >> count & 0xffU));
    }
    // Bits that belong to no byte have to be zero: one text for each bytes.
    if ((bits & ((1U << count) - 1)) != 0) return std::nullopt;
    return bytes;
}

}  // namespace virtgate::lockd::etcd
