// SPDX-License-Identifier: LGPL-2.1-or-later
// encoding - bytes as text: base64, hexadecimal digits, UUIDs; and whether bytes are text. Internal.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "libshared/base/bytes.h"

namespace virtgate::reflect {

inline constexpr std::uint32_t k_uuid_bytes = 16;

// RFC 4648, section 4, with padding.
[[nodiscard]] std::string to_base64(ByteView bytes);
// Without anything but the alphabet and its padding. None: it is not base64.
[[nodiscard]] std::optional<ByteVector> from_base64(std::string_view text);

// An even number of digits of either case.
[[nodiscard]] std::optional<ByteVector> from_hex(std::string_view text);

// 8-4-4-4-12 digits; back with the hyphens anywhere.
[[nodiscard]] std::string to_uuid(ByteView bytes);
[[nodiscard]] std::optional<ByteVector> from_uuid(std::string_view text);

// True for well-formed UTF-8, control characters included.
[[nodiscard]] bool is_utf8(std::string_view text) noexcept;

}  // namespace virtgate::reflect
