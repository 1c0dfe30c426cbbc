// SPDX-License-Identifier: LGPL-2.1-or-later
// crc32c - the checksum of the journal.
#include "lockd/holder/crc32c.h"

#include <array>

namespace virtgate::lockd::holder {

namespace {

constexpr auto k_table = [] {
    constexpr std::uint32_t k_reflected = 0x82f63b78;
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < table.size(); ++i) {
        std::uint32_t rest = i;
        for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1) ^ ((rest & 1) != 0 ? k_reflected : 0);
        table.at(i) = rest;
    }
    return table;
}();

}  // namespace

std::uint32_t crc32c(ByteView bytes, std::uint32_t before) noexcept {
    std::uint32_t sum = ~before;
    for (const std::byte byte : bytes)
        sum = (sum >> 8) ^ k_table[(sum ^ std::to_integer<std::uint32_t>(byte)) & 0xff];
    return ~sum;
}

}  // namespace virtgate::lockd::holder
