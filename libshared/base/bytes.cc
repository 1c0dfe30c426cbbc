// SPDX-License-Identifier: LGPL-2.1-or-later
// bytes - views of memory, and text made safe for a log.
#include "libshared/base/bytes.h"

#include <fmt/format.h>

#include <algorithm>

namespace virtgate {

ByteView as_bytes(std::string_view text) noexcept {
    return std::as_bytes(std::span(text.data(), text.size()));
}

std::string_view as_text(ByteView bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

namespace {

// How many bytes the well-formed UTF-8 character at the start of `text` has; 0 if it is not one, or if it is a
// C1 control character, which terminals obey like escape sequences.
std::size_t utf8_length(std::string_view text) noexcept {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned lead = byte(0);
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xc2 ? 0
                               : lead < 0xe0 ? 2
                               : lead < 0xf0 ? 3
                               : lead < 0xf5 ? 4
                                             : 0;
    if (length == 0 || length > text.size()) return 0;
    for (std::size_t i = 1; i < length; ++i)
        if ((byte(i) & 0xc0) != 0x80) return 0;
    if (length == 2 && lead == 0xc2 && byte(1) < 0xa0) return 0;
    const bool overlong = (lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xf0 && byte(1) < 0x90);
    const bool outside = (lead == 0xed && byte(1) >= 0xa0) || (lead == 0xf4 && byte(1) >= 0x90);
    return overlong || outside ? 0 : length;
}

// True for a character that shows nothing, breaks a line or turns the direction of writing: with these, a name can make a
// line look like another one. `character` is one well-formed UTF-8 character.
bool is_deceptive(std::string_view character) noexcept {
    if (character.size() < 2) return false;
    unsigned code = static_cast<unsigned char>(character[0]) & (0xffU >> (character.size() + 1));
    for (const char c : character.substr(1)) code = code << 6 | (static_cast<unsigned char>(c) & 0x3fU);
    const auto within = [code](unsigned first, unsigned last) { return code >= first && code <= last; };
    return code == 0xad || code == 0x61c || code == 0x180e || within(0x200b, 0x200f) ||
           within(0x2028, 0x202e) || within(0x2060, 0x206f) || code == 0xfeff || within(0xfff9, 0xfffb) ||
           within(0xe0000, 0xe0fff);
}

}  // namespace

std::string escape(std::string_view text, std::size_t limit) {
    std::string out;
    out.reserve(std::min(text.size(), limit) + 8);
    while (!text.empty()) {
        if (out.size() >= limit) return out += "...";
        const std::size_t length = utf8_length(text);
        const auto first = static_cast<unsigned char>(text.front());
        const bool is_wide = length > 1 && !is_deceptive(text.substr(0, length));
        if (is_wide || (length == 1 && first >= 0x20 && first != 0x7f && first != '"' && first != '\\')) {
            out.append(text.substr(0, length));
            text.remove_prefix(length);
        } else {
            fmt::format_to(std::back_inserter(out), "\\x{:02x}", first);
            text.remove_prefix(1);
        }
    }
    return out;
}

bool is_plain_text(std::string_view text) noexcept {
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        const auto first = static_cast<unsigned char>(text.front());
        if (length == 0 || first < 0x20 || first == 0x7f) return false;
        text.remove_prefix(length);
    }
    return true;
}

std::string to_hex(ByteView bytes) {
    std::string out;
    out.reserve(2 * bytes.size());
    for (const std::byte b : bytes)
        fmt::format_to(std::back_inserter(out), "{:02x}", static_cast<unsigned>(b));
    return out;
}

std::string to_lower(std::string_view text) {
    std::string result(text);
    for (char& c : result)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return result;
}

std::string to_upper(std::string_view text) {
    std::string result(text);
    for (char& c : result)
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    return result;
}

}  // namespace virtgate
