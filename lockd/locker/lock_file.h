// SPDX-License-Identifier: LGPL-2.1-or-later
// lock_file - take and give back the lock on one file.
//
// The lock is on byte 0, for its length of 1, as virtlockd's, but belongs to the open file description and not to the process:
// it excludes virtlockd and other hosts just the same, and lives as long as any process has the descriptor.
//
// Trust:  the directory may be writable for others: whatever lies there is only opened, never followed.
// Limits: nothing here waits for a lock. Opening a file on a network file system can.
// Source: fcntl(2), "Open file description locks", Linux 3.15.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "libshared/base/fd.h"
#include "lockd/locker/failures.h"

namespace virtgate::lockd::locker {

// Where a file is: `name`, one component, in `directory`. `path`: what people call it. `resource`: the client's word for
// it.
struct FilePlace {
    int directory = -1;  // borrowed
    std::string name;
    std::string path;
    std::string resource;
};

// A locked file.
struct LockedFile {
    UniqueFd file;
    std::uint64_t device = 0, inode = 0;
};

// Takes the lock: a shared one excludes exclusive ones alone. `create`: makes the file if it is not there (mode 0600). The
// file that is locked is the one that the place leads to when this returns.
// Failure: is_locked() if somebody else has it, in this process or elsewhere; otherwise of the system.
[[nodiscard]] Answer<LockedFile> take_lock(const FilePlace& place, bool shared, bool create);

// The same by one look at `path`, absolute and the name of a file that is there: if no symbolic link is on the way, and if
// nothing else is in the way. Otherwise empty, and take_lock() tells what is.
[[nodiscard]] std::optional<LockedFile> take_lock_at(const std::string& path, bool shared) noexcept;

// Sets the lock of `file`, which has it already, once more; false if it was lost and somebody else has it now.
[[nodiscard]] bool confirm_lock(int file, bool shared) noexcept;

// Ends the lock for all who have a copy of the descriptor. `remove`: the file goes, too, if nobody else has a shared lock
// on it, if it is still the one at the place, and if it is empty: what has content is no lock file. Never fails: what
// cannot be removed stays, and is logged.
void give_back(UniqueFd file, const FilePlace& place, bool remove) noexcept;

// Makes the file (mode 0600) if it is not there. Failure: of the system.
[[nodiscard]] Answer<void> create_file(const FilePlace& place);

// Removes the file, if it is there, is empty, and is locked by nobody. Failure: is_locked(), forbidden(), of the system.
[[nodiscard]] Answer<void> remove_file(const FilePlace& place);

}  // namespace virtgate::lockd::locker
