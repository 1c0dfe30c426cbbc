// SPDX-License-Identifier: LGPL-2.1-or-later
// qcow2 - the headers of QEMU's image format.
#include "workerd/store/qcow2.h"

namespace virtgate::workerd::store::qcow2 {

namespace {

constexpr std::uint32_t k_magic = 0x514649fb;  // "QFI" and 0xfb
constexpr std::uint64_t k_cluster_bits = 16;
constexpr std::uint64_t k_cluster = 1ULL << k_cluster_bits;
constexpr std::uint64_t k_entry = 8;  // of the L1 and L2 tables
constexpr std::uint64_t k_behind_l1 =
    k_cluster * (k_cluster / k_entry);  // bytes of the guest for one L1 entry
constexpr std::uint64_t k_reference = 2;
constexpr std::uint64_t k_references = k_cluster / k_reference;  // in one block
constexpr std::uint32_t k_reference_order = 4;                   // 1 << 4 bits
constexpr std::uint32_t k_header_length = 104;                   // as much as version 3 has at least
constexpr std::uint64_t k_sector = 512;
constexpr std::uint64_t k_copied = 1ULL << 63;

std::uint64_t divide_up(std::uint64_t a, std::uint64_t b) noexcept { return (a + b - 1) / b; }

void store_be64(std::byte* at, std::uint64_t word) noexcept {
    store_be32(at, static_cast<std::uint32_t>(word >> 32));
    store_be32(at + 4, static_cast<std::uint32_t>(word));
}

void store_be16(std::byte* at, std::uint16_t word) noexcept {
    at[0] = static_cast<std::byte>(word >> 8);
    at[1] = static_cast<std::byte>(word);
}

}  // namespace

Image make_empty(std::uint64_t capacity) {
    capacity = divide_up(capacity, k_sector) * k_sector;
    const std::uint64_t l1_entries = divide_up(capacity, k_behind_l1);
    const std::uint64_t l1_clusters = divide_up(l1_entries * k_entry, k_cluster);
    // The largest L1 table has 512 clusters, so that one block of references is enough, and one cluster for its table.
    constexpr std::uint64_t k_table_at = 1, k_block_at = 2, k_l1_at = 3;
    const std::uint64_t clusters = k_l1_at + l1_clusters;
    static_assert(k_l1_at + k_capacity_max / k_behind_l1 * k_entry / k_cluster <= k_references);

    Image image{.front = ByteVector(k_block_at * k_cluster + clusters * k_reference),
                .size = clusters * k_cluster};
    std::byte* const at = image.front.data();
    store_be32(at, k_magic);
    store_be32(at + 4, 3);                                            // version
    store_be32(at + 20, static_cast<std::uint32_t>(k_cluster_bits));  // behind backing_file_offset and _size
    store_be64(at + 24, capacity);
    store_be32(at + 36, static_cast<std::uint32_t>(l1_entries));  // behind crypt_method
    store_be64(at + 40, k_l1_at * k_cluster);
    store_be64(at + 48, k_table_at * k_cluster);
    store_be32(at + 56, 1);  // clusters of the table of reference blocks
    // Behind the snapshots and the feature bits, none of which is set.
    store_be32(at + 96, k_reference_order);
    store_be32(at + 100, k_header_length);
    // The header extension of type 0 and length 0, which ends them, is zero.
    store_be64(at + k_table_at * k_cluster, k_block_at * k_cluster);
    for (std::uint64_t cluster = 0; cluster < clusters; ++cluster)
        store_be16(at + k_block_at * k_cluster + cluster * k_reference, 1);
    return image;
}

std::optional<Header> read_header(ByteView bytes) noexcept {
    constexpr std::size_t k_version_2 = 72;
    if (bytes.size() < k_version_2 || load_be32(bytes.data()) != k_magic) return std::nullopt;
    const Header header{.version = load_be32(bytes.data() + 4),
                        .capacity = load_be64(bytes.data() + 24),
                        .has_backing_file = load_be64(bytes.data() + 8) != 0,
                        .is_encrypted = load_be32(bytes.data() + 32) != 0};
    const std::uint32_t bits = load_be32(bytes.data() + 20);
    if ((header.version != 2 && header.version != 3) || bits < 9 || bits > 21 ||
        (header.capacity & k_copied) != 0)
        return std::nullopt;
    return header;
}

}  // namespace virtgate::workerd::store::qcow2
