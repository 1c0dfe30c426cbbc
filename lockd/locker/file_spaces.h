// SPDX-License-Identifier: LGPL-2.1-or-later
// file_spaces - the lock spaces that are in files: a directory of lock files, and the files themselves.
//
// Trust:  names are clients'. In a directory a name is one component: no slash, not "..", at most 255 bytes. A direct name
//         is an absolute path beneath a configured directory. NUL cannot be in either: the decoder refuses it.
// Owns:   the directory.
#pragma once

#include "lockd/locker/lock_space.h"
#include "lockd/locker/roots.h"

namespace virtgate::lockd::locker {

// Common to both: answers come at once.
class FileSpace : public LockSpace {
public:
    void take(const std::string& name, bool shared, bool create, Ticket ticket, LockSpaceUser& user) override;
    void let_go(const std::string& name, UniqueFd file, bool remove, Ticket ticket,
                LockSpaceUser& user) override;
    void create(const std::string& name, Ticket ticket, LockSpaceUser& user) override;
    void remove(const std::string& name, Ticket ticket, LockSpaceUser& user) override;
    [[nodiscard]] bool confirm(const std::string& name, int file, bool shared) override;

protected:
    // The place, with what has to stay open while it is used.
    struct Found {
        UniqueFd directory;
        FilePlace place;
    };
    // Where `name` is. To let a lock go, it does not matter what has become of the way there.
    enum class For : unsigned char { taking, letting_go };
    [[nodiscard]] virtual Answer<Found> find(const std::string& name, For purpose) = 0;
};

// A directory with a file for each resource.
class DirectorySpace final : public FileSpace {
public:
    // `directory` (O_PATH) is the one at `path`.
    DirectorySpace(std::string path, UniqueFd directory);

    // False if the directory was removed, or if its path leads somewhere else by now: a lock taken through the path would
    // not exclude those that were taken before.
    [[nodiscard]] bool is_current() const noexcept;
    [[nodiscard]] bool is_usable() const noexcept override { return is_current(); }

private:
    [[nodiscard]] Answer<Found> find(const std::string& name, For purpose) override;

    const std::string path_;
    const UniqueFd directory_;
    std::uint64_t device_ = 0, inode_ = 0;  // of the directory
};

// The default lock space: a resource is the very file that is to be locked.
class DirectSpace final : public FileSpace {
public:
    explicit DirectSpace(const Roots& roots) : roots_(roots) {}
    void take(const std::string& name, bool shared, bool create, Ticket ticket, LockSpaceUser& user) override;

private:
    // That it is beneath a configured directory can be seen in its letters alone.
    [[nodiscard]] bool is_plain(const std::string& name) const noexcept;
    [[nodiscard]] Answer<Found> find(const std::string& name, For purpose) override;

    const Roots& roots_;
};

}  // namespace virtgate::lockd::locker
