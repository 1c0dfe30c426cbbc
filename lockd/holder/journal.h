// SPDX-License-Identifier: LGPL-2.1-or-later
// journal - the records of what is kept, in a file that outlives this process.
//
// A map from slot to record. put() and erase() have happened when they return: whoever reads the file after this
// process was killed at any moment finds all that returned, and of one that was under way either what was before or
// what would have been after. A crash of the machine is no matter: it ends all locks, and a journal of another boot is
// empty.
//
//     header  "vg-kept\n" · version 1 · boot id, 16 bytes · CRC32C of all before               32 bytes
//     entry   mark · CRC32C of all behind it · slot · size of the record · record              16 bytes and the record
//
// Words are big-endian. An entry's mark is "LIVE", or "DIVE" when it is over: one byte is overwritten in place, which
// neither tears nor needs room, so that something can be let go on a full disk. Of several live entries of a slot the last
// one counts. When most of the file is dead, it is written anew beside and renamed.
//
// Trust:  records are the locker's, and may have been chosen by whoever took that over: what is left behind of one that
//         was not written to its end is cut off, or else it could be read as an entry.
// Limits: k_bytes_max of live entries; put() fails above that.
// Owns:   the file. One process at a time: the caller has the directory locked.
#pragma once

#include <sys/types.h>

#include <array>
#include <map>
#include <string>
#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"

namespace virtgate::lockd::holder {

using Slot = std::uint32_t;
using BootId = std::array<std::byte, 16>;

// What tells a journal in `directory` from that of another boot: /proc/sys/kernel/random/boot_id, or zeros where the directory
// is in memory, and gone with the boot. (A unit with ProcSubset=pid has no such file.) Error: system's fault.
Result<BootId> find_boot_id(const std::string& directory);

// The system calls that change the file, so that a test can let any of them fail.
struct FileCalls {
    ssize_t (*pwrite)(int, const void*, std::size_t, off_t);
    int (*ftruncate)(int, off_t);
    int (*rename)(const char*, const char*);
    int (*fallocate)(int, int, off_t, off_t);
};
[[nodiscard]] const FileCalls& system_file_calls() noexcept;

class Journal {
public:
    static constexpr std::size_t k_bytes_max = std::size_t{64} << 20;
    // A file of less than that is not worth writing anew; from there on half of it may be dead.
    static constexpr std::size_t k_compact_min = std::size_t{1} << 20;

    struct Entry {
        Slot slot = 0;
        ByteVector record{};
    };
    struct Opened;

    // Opens the journal at `path`, or makes one. Error: system's fault: also for a file that is none, and for one of
    // another version.
    static Result<Opened> open(const std::string& path, const BootId& boot,
                               const FileCalls& calls = system_file_calls());

    // Writes that `slot` has `record`, whether or not it had one. Error: system's fault; nothing has changed then.
    Done put(Slot slot, ByteView record);

    // Writes that `slots`, which have records, have none any more. Error: system's fault; all have theirs still.
    Done erase(const std::vector<Slot>& slots);

    // Makes sure that entries of `bytes` more can be written on a disk that is full by then. Error: system's fault: there is
    // no room, or it would be more than k_bytes_max. Where a file system cannot promise that, nothing is promised.
    Done reserve(std::size_t bytes);

    [[nodiscard]] bool has(Slot slot) const noexcept { return places_.contains(slot); }
    [[nodiscard]] std::size_t count() const noexcept { return places_.size(); }
    // Bytes of the file, and of its live entries.
    [[nodiscard]] std::size_t size() const noexcept { return end_; }
    [[nodiscard]] std::size_t live() const noexcept { return live_; }

private:
    struct Place {
        std::size_t offset = 0;  // of the entry
        std::size_t size = 0;    // of the entry
    };

    Journal(std::string path, UniqueFd file, const BootId& boot, const FileCalls& calls)
        : path_(std::move(path)), file_(std::move(file)), boot_(boot), calls_(&calls) {}

    [[nodiscard]] Result<std::vector<Entry>> read(std::size_t& tail);
    [[nodiscard]] Done begin();
    [[nodiscard]] Done write(int file, ByteView bytes, std::size_t offset) const;
    [[nodiscard]] Done mark(std::size_t offset, bool live) const;
    [[nodiscard]] Done cut(std::size_t size);
    [[nodiscard]] Done compact();
    [[nodiscard]] Done allocate(int file, std::size_t from, std::size_t to) const;

    std::string path_;
    UniqueFd file_;
    BootId boot_;
    const FileCalls* calls_;
    std::map<Slot, Place> places_{};
    std::size_t end_ = 0;  // where the next entry begins
    std::size_t live_ = 0;
    std::size_t reserved_ = 0;  // up to there the disk has room for the file
    bool has_tail_ =
        false;  // there may be bytes behind end_, and they have to be cut off before anything else
};

struct Journal::Opened {
    Journal journal;
    std::vector<Entry> entries;  // by slot
    std::size_t cut = 0;         // bytes at the end of the file that were no entries
};

}  // namespace virtgate::lockd::holder
