// SPDX-License-Identifier: LGPL-2.1-or-later
// codec - whole payloads to values and back, for every generated type.
//
// Trust:  payloads may come from a hostile peer. decode() checks what validate() checks (proto/schema.h), so a process
//         that decodes needs no validation before it.
// Limits: a payload of at most k_payload_max bytes; memory in proportion to the payload.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "libshared/xdr/flaw.h"
#include "libshared/xdr/reader.h"
#include "libshared/xdr/writer.h"

namespace virtgate::proto {

// The largest payload of a libvirt frame: 32 MiB less the header.
inline constexpr std::size_t k_payload_max = 33554408;

// The value that `payload` is, all of it: decode<remote::DomainLookupByNameArgs>(payload).
template <class T>
[[nodiscard]] tl::expected<T, xdr::Flaw> decode(std::span<const std::byte> payload) {
    xdr::Reader reader(payload);
    T value;
    value.decode(reader);
    return reader.finish(std::move(value));
}

// The bytes of `value`, or what is wrong with it. Nobody but ourselves can cause a flaw here.
template <class T>
[[nodiscard]] tl::expected<std::vector<std::byte>, xdr::Flaw> encode(const T& value,
                                                                     std::size_t limit = k_payload_max) {
    std::vector<std::byte> bytes;
    xdr::Writer writer(bytes, limit);
    value.encode(writer);
    if (!writer.ok()) return tl::make_unexpected(writer.flaw());
    return bytes;
}

// True if a * b > maximum. For generated code.
[[nodiscard]] constexpr bool product_exceeds(std::uint64_t a, std::uint64_t b,
                                             std::uint64_t maximum) noexcept {
    return b != 0 && a > maximum / b;
}

// For generated code.
inline void assign(std::vector<std::byte>& to, std::span<const std::byte> from) {
    to.assign(from.begin(), from.end());
}

}  // namespace virtgate::proto
