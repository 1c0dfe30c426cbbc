// SPDX-License-Identifier: LGPL-2.1-or-later
// batch - content of a volume on its way to the disk.
#include "workerd/store/batch.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace virtgate::workerd::store {

namespace {

// Of one write. For larger ones the kernel takes larger blocks of memory, and those it has to look for; in a virtual machine that
// gives free memory back to its host, to wait for. Measured: above this nothing gets faster.
constexpr std::uint64_t k_slice = 128U << 10;

// A hole may lie over what is there, or behind it, where the file becomes longer.
bool write_hole(int file, std::uint64_t at, std::uint64_t length, const Closing& closing) noexcept {
    struct stat status {};
    if (fstat(file, &status) < 0) return false;
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (at < size && !write_zeros(file, at, std::min(length, size - at), closing, true)) return false;
    return at + length <= size || ftruncate(file, static_cast<off_t>(at + length)) == 0;
}

}  // namespace

MutableBytes Batch::room() {
    require(!is_full(), "a full batch has no room");
    if (!bytes_) bytes_ = std::make_unique_for_overwrite<std::byte[]>(k_size);
    return {bytes_.get() + used_, k_size - used_};
}

void Batch::add(std::uint64_t at, ByteView bytes) {
    const MutableBytes to = room();
    require(bytes.size() <= to.size(), "more bytes than a batch has room for");
    if (bytes.data() != to.data()) std::memcpy(to.data(), bytes.data(), bytes.size());
    used_ += bytes.size();
    extend(at, bytes.size(), false);
}

void Batch::add_hole(std::uint64_t at, std::uint64_t length) { extend(at, length, true); }

void Batch::extend(std::uint64_t at, std::uint64_t length, bool is_hole) {
    if (runs_.empty() || runs_.back().is_hole != is_hole) runs_.push_back({.at = at, .is_hole = is_hole});
    runs_.back().length += length;
}

void Batch::clear() noexcept {
    if (!is_worth_it()) bytes_.reset();
    used_ = 0;
    runs_.clear();
}

bool Batch::write(int file, const Closing& closing) const noexcept {
    ByteView rest{bytes_.get(), used_};
    for (const Run& run : runs_) {
        if (run.is_hole) {
            if (!write_hole(file, run.at, run.length, closing)) return false;
            continue;
        }
        for (std::uint64_t done = 0; done < run.length;) {
            const ByteView slice = rest.first(std::min(run.length - done, k_slice));
            if (!write_all(file, slice, run.at + done)) return false;
            done += slice.size();
            rest = rest.subspan(slice.size());
        }
    }
    return true;
}

}  // namespace virtgate::workerd::store
