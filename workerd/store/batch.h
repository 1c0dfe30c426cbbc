// SPDX-License-Identifier: LGPL-2.1-or-later
// batch - content of a volume on its way to the disk: bytes and holes, in the order in which they came.
//
// A write has a price of its own, whatever its size is: a thread that wakes up, a system call, and what the file system does for
// each. So what comes is collected until it is worth one (k_worth); more may come until it is_full(). The bytes lie in
// one piece of memory, to which they may be read from the socket at once.
//
// Limits: k_full bytes and one piece of a client; k_runs_max changes between bytes and holes.
// Owns:   the memory; not between batches of a client that is slow, or sends nothing at present.
#pragma once

#include <memory>
#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/server/client.h"
#include "workerd/store/making.h"

namespace virtgate::workerd::store {

class Batch {
public:
    static constexpr std::size_t k_worth = 256U << 10, k_full = 512U << 10, k_runs_max = 4096;

    [[nodiscard]] bool is_empty() const noexcept { return runs_.empty(); }
    [[nodiscard]] bool is_worth_it() const noexcept { return used_ >= k_worth || runs_.size() >= k_runs_max; }
    [[nodiscard]] bool is_full() const noexcept { return used_ >= k_full || runs_.size() >= k_runs_max; }

    // Where the next bytes should be put. Only if it is not full; larger than Client::k_piece.
    [[nodiscard]] MutableBytes room();
    // The next bytes, which belong at `at`: the front of room(), or at most Client::k_piece that are elsewhere.
    void add(std::uint64_t at, ByteView bytes);
    void add_hole(std::uint64_t at, std::uint64_t length);
    void clear() noexcept;

    // In a thread. False: errno.
    [[nodiscard]] bool write(int file, const Closing& closing) const noexcept;
    // Where it begins and ends in the file. Only if it is not empty.
    [[nodiscard]] std::uint64_t begin() const noexcept { return runs_.front().at; }
    [[nodiscard]] std::uint64_t end() const noexcept { return runs_.back().at + runs_.back().length; }

private:
    static constexpr std::size_t k_size = k_full + server::Client::k_piece;
    struct Run {
        std::uint64_t at = 0, length = 0;
        bool is_hole = false;
    };
    void extend(std::uint64_t at, std::uint64_t length, bool is_hole);

    std::unique_ptr<std::byte[]> bytes_;
    std::size_t used_ = 0;
    std::vector<Run> runs_;
};

}  // namespace virtgate::workerd::store
