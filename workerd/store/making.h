// SPDX-License-Identifier: LGPL-2.1-or-later
// making - volumes made, copied, resized and wiped: what takes long, for a worker thread.
//
// A new volume gets its name when it is whole and on the disk: until then it is a file that look_around() removes. So after
// a crash at any moment it is there as a whole, or not at all. Resizing is one system call; a wipe that was interrupted
// has wiped a part, and can be repeated.
//
// Trust:  names have passed flaw_of_name().
#pragma once

#include <atomic>
#include <memory>

#include "workerd/store/volume.h"
#include "workerd/store/xml.h"

namespace virtgate::workerd::store {

// True: whatever takes long gives up, because the process ends, or because the volume's lock may be over.
class Closing {
public:
    // `ends` is borrowed.
    explicit Closing(const std::atomic<bool>& ends,
                     std::shared_ptr<const std::atomic<bool>> loss = nullptr) noexcept
        : ends_(ends), loss_(std::move(loss)) {}
    [[nodiscard]] operator bool() const noexcept { return ends_ || (loss_ != nullptr && *loss_); }

private:
    const std::atomic<bool>& ends_;
    std::shared_ptr<const std::atomic<bool>> loss_;
};

// `directory` is borrowed. The new volume as it is on the disk.
[[nodiscard]] Answer<Volume> make_volume(int directory, const VolumeDescription& wanted,
                                         const Closing& closing);

// The same with the content of another volume in `source_directory`; holes stay holes. The new one is at least as large.
[[nodiscard]] Answer<Volume> copy_volume(int directory, const VolumeDescription& wanted, int source_directory,
                                         const std::string& source, const Closing& closing);

// Of format raw only: a disk inside of another format would have to be resized by those who know its insides. `allocate`:
// what is added gets its place on the disk.
[[nodiscard]] Answer<Volume> resize_volume(int directory, const std::string& name, std::uint64_t capacity,
                                           bool allocate, const Closing& closing);

// All of it is zeros afterwards: a file with holes becomes one hole, any other is written over.
[[nodiscard]] Answer<Volume> wipe_volume(int directory, const std::string& name, const Closing& closing);

// Gives the finished file `from` the name `to`, which nobody has. False: errno; EEXIST if somebody has it.
[[nodiscard]] bool rename_new(int directory, const std::string& from, const std::string& to) noexcept;

// Writes all of `bytes` at `offset`. False: errno.
[[nodiscard]] bool write_all(int file, ByteView bytes, std::uint64_t offset) noexcept;

// `length` bytes from `offset` on become zeros: a hole if the file system can, and written ones if not. False: errno.
[[nodiscard]] bool write_zeros(int file, std::uint64_t offset, std::uint64_t length, const Closing& closing,
                               bool as_hole) noexcept;

}  // namespace virtgate::workerd::store
