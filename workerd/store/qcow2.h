// SPDX-License-Identifier: LGPL-2.1-or-later
// qcow2 - the headers of QEMU's image format: that of an empty image written, that of any image read.
//
// Source: QEMU's docs/interop/qcow2.txt. What is written is version 3 with clusters of 64 KiB and references of 16 bits:
//
//     cluster 0   header      1   table of reference blocks      2 …  reference blocks      then the L1 table
//
// All is big-endian. What is not written is a hole of the file, and so zero: no cluster of the guest is there.
// Trust:  what is read may have been uploaded by anybody: nothing but numbers within bounds comes out of it.
#pragma once

#include <cstdint>
#include <optional>

#include "libshared/base/bytes.h"

namespace virtgate::workerd::store::qcow2 {

// QEMU itself has no L1 table of more than 32 MiB.
inline constexpr std::uint64_t k_capacity_max = std::uint64_t{1} << 51;
// As much of a file's beginning as read_header() wants.
inline constexpr std::size_t k_header_size = 112;

struct Image {
    ByteVector front;        // the file's beginning; behind it there is a hole
    std::uint64_t size = 0;  // of the whole file
};

// An empty image for a disk of `capacity` bytes (at most k_capacity_max, rounded up to 512).
[[nodiscard]] Image make_empty(std::uint64_t capacity);

struct Header {
    std::uint32_t version = 0;
    std::uint64_t capacity = 0;
    bool has_backing_file = false;
    bool is_encrypted = false;
};

// No value if the bytes are not the beginning of such an image.
[[nodiscard]] std::optional<Header> read_header(ByteView bytes) noexcept;

}  // namespace virtgate::workerd::store::qcow2
