// SPDX-License-Identifier: LGPL-2.1-or-later
// wire - the few libvirt RPC frames that the load generator speaks.
#include "tests/bench/wire.h"

#include <fmt/format.h>

#include <algorithm>

namespace virtgate::bench {

Header read_header(ByteView frame) noexcept {
    const std::byte* at = frame.data();
    return Header{.program = load_be32(at + 4),
                  .version = load_be32(at + 8),
                  .procedure = load_be32(at + 12),
                  .kind = static_cast<Kind>(load_be32(at + 16)),
                  .serial = load_be32(at + 20),
                  .status = static_cast<Status>(load_be32(at + 24))};
}

ByteVector make_frame(const Header& header, ByteView payload) {
    ByteVector frame(k_head_size + payload.size());
    std::byte* at = frame.data();
    store_be32(at, static_cast<std::uint32_t>(frame.size()));
    store_be32(at + 4, header.program);
    store_be32(at + 8, header.version);
    store_be32(at + 12, header.procedure);
    store_be32(at + 16, static_cast<std::uint32_t>(header.kind));
    store_be32(at + 20, header.serial);
    store_be32(at + 24, static_cast<std::uint32_t>(header.status));
    std::copy(payload.begin(), payload.end(), frame.begin() + k_head_size);
    return frame;
}

Payload& Payload::u32(std::uint32_t value) {
    std::byte word[4];
    store_be32(word, value);
    bytes_.insert(bytes_.end(), word, word + sizeof word);
    return *this;
}

Payload& Payload::u64(std::uint64_t value) {
    return u32(static_cast<std::uint32_t>(value >> 32)).u32(static_cast<std::uint32_t>(value));
}

Payload& Payload::text(std::string_view value) {
    u32(static_cast<std::uint32_t>(value.size()));
    raw(as_bytes(value));
    bytes_.resize((bytes_.size() + 3) & ~std::size_t{3});
    return *this;
}

Payload& Payload::raw(ByteView value) {
    bytes_.insert(bytes_.end(), value.begin(), value.end());
    return *this;
}

std::string read_error(ByteView payload) {
    // code, domain, 1 = text present, length, text
    if (payload.size() < 16) return "error without text";
    const std::uint32_t code = load_be32(payload.data());
    const std::uint32_t domain = load_be32(payload.data() + 4);
    std::string_view text;
    if (load_be32(payload.data() + 8) != 0) {
        const std::size_t size = std::min<std::size_t>(load_be32(payload.data() + 12), payload.size() - 16);
        text = as_text(payload.subspan(16, size));
    }
    return fmt::format("error {}/{}: {}", code, domain, escape(text));
}

}  // namespace virtgate::bench
