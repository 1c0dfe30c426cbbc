// SPDX-License-Identifier: LGPL-2.1-or-later
// error - RPC errors as libvirt's clients expect them.
//
// The structure is written by hand rather than by generated code, so that the rpc room needs nothing of proto/: code,
// domain, message?, level, domain object?, str1?, str2?, str3?, int1, int2, network object?.
#include "libshared/rpc/error.h"

#include <algorithm>

namespace virtgate::rpc {

namespace {

constexpr std::uint32_t k_level_error = 2;
constexpr std::uint32_t k_absent = 0;
constexpr std::uint32_t k_present = 1;
// Errors are for people; this also keeps a message with two copies of the text inside one control packet.
constexpr std::size_t k_text_max = 4096;

void put_word(ByteVector& out, std::uint32_t word) {
    out.resize(out.size() + 4);
    store_be32(out.data() + out.size() - 4, word);
}

void put_text(ByteVector& out, std::string_view text) {
    text = text.substr(0, k_text_max);
    put_word(out, k_present);
    put_word(out, static_cast<std::uint32_t>(text.size()));
    const ByteView bytes = as_bytes(text);
    out.insert(out.end(), bytes.begin(), bytes.end());
    out.resize((out.size() + 3) & ~std::size_t{3});
}

}  // namespace

ByteVector make_error_payload(const Failure& failure) {
    ByteVector out;
    out.reserve(64 + failure.message.size() + failure.detail.size());
    put_word(out, static_cast<std::uint32_t>(failure.code));
    put_word(out, static_cast<std::uint32_t>(failure.domain));
    put_text(out, failure.message);
    put_word(out, k_level_error);
    put_word(out, k_absent);
    put_text(out, failure.pattern);
    put_text(out, failure.detail.empty() ? failure.message : failure.detail);
    put_word(out, k_absent);
    put_word(out, static_cast<std::uint32_t>(failure.int1));
    put_word(out, static_cast<std::uint32_t>(failure.int2));
    put_word(out, k_absent);
    return out;
}

ByteVector make_error_payload(int code, std::string_view text, int domain) {
    return make_error_payload(
        Failure{.code = code, .domain = domain, .message = std::string(text.substr(0, k_text_max))});
}

ByteVector make_error_reply(const Header& call, int code, std::string_view text, int domain) {
    return make_frame(reply_to(call, Status::error), make_error_payload(code, text, domain));
}

ByteVector make_stream_error(const Header& stream, int code, std::string_view text, int domain) {
    Header header = reply_to(stream, Status::error);
    header.type = Type::stream;
    return make_frame(header, make_error_payload(code, text, domain));
}

std::string read_error_text(ByteView payload) {
    constexpr std::size_t k_text_at = 16;  // code, domain, flag, length
    if (payload.size() >= k_text_at && load_be32(payload.data() + 8) == k_present) {
        const std::size_t length = load_be32(payload.data() + 12);
        if (length <= payload.size() - k_text_at)
            return std::string(as_text(payload.subspan(k_text_at, length)));
    }
    return "unreadable error";
}

std::string read_error_detail(ByteView payload) {
    // code, domain, message?, level, domain object?, str1?, str2?
    std::size_t at = 8;
    const auto word = [&]() -> std::uint32_t {
        if (payload.size() < at + 4) return at = payload.size(), k_absent;
        at += 4;
        return load_be32(payload.data() + at - 4);
    };
    const auto text = [&]() -> std::string_view {
        if (word() != k_present) return {};
        const std::size_t length = word();
        if (length > payload.size() - at) return at = payload.size(), std::string_view{};
        const std::string_view found = as_text(payload.subspan(at, length));
        at = std::min(payload.size(), at + ((length + 3) & ~std::size_t{3}));
        return found;
    };
    static_cast<void>(text());
    static_cast<void>(word());
    if (word() != k_absent)
        return read_error_text(payload);  // an object of libvirt's: not of our own processes
    static_cast<void>(text());
    const std::string_view detail = text();
    return detail.empty() ? read_error_text(payload) : std::string(detail);
}

int read_error_code(ByteView payload) noexcept {
    return payload.size() >= 4 ? static_cast<int>(load_be32(payload.data())) : k_code_internal;
}

}  // namespace virtgate::rpc
