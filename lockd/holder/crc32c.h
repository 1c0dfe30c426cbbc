// SPDX-License-Identifier: LGPL-2.1-or-later
// crc32c - the checksum of the journal: finds what was cut or spoilt, keeps nobody from forging anything.
//
// Source: Castagnoli's polynomial 0x1EDC6F41, reflected, as in RFC 3720, B.4.
#pragma once

#include <cstdint>

#include "libshared/base/bytes.h"

namespace virtgate::lockd::holder {

// The checksum of `bytes`; `before` is that of the bytes in front of them, if these are a part.
[[nodiscard]] std::uint32_t crc32c(ByteView bytes, std::uint32_t before = 0) noexcept;

}  // namespace virtgate::lockd::holder
