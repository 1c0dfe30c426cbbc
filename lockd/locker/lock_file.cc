// SPDX-License-Identifier: LGPL-2.1-or-later
// lock_file - take and give back the lock on one file.
#include "lockd/locker/lock_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "libshared/base/bytes.h"
#include "libshared/base/log.h"
#include "lockd/locker/roots.h"

namespace virtgate::lockd::locker {

namespace {

constexpr unsigned k_mode = S_IRUSR | S_IWUSR;
// A file that is gone or another one each time is somebody's game.
constexpr int k_tries = 64;

// A device that is no disk may do something when it is opened; nothing may make us wait or become a terminal.
constexpr int k_open = O_RDWR | O_NOCTTY | O_NONBLOCK;

enum class Locking : unsigned char { done, busy, failed };

Locking set_lock(int file, short type) noexcept {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = 0;
    lock.l_len = 1;
    while (fcntl(file, F_OFD_SETLK, &lock) < 0) {
        if (errno == EINTR) continue;
        return errno == EACCES || errno == EAGAIN ? Locking::busy : Locking::failed;
    }
    return Locking::done;
}

constexpr short type_of(bool shared) noexcept { return shared ? F_RDLCK : F_WRLCK; }

bool is_same(const struct stat& a, const struct stat& b) noexcept {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// True if the place is still, or again, where the file is that `file` describes.
bool leads_to(const FilePlace& place, const struct stat& file) noexcept {
    struct stat there {};
    return fstatat(place.directory, place.name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           is_same(there, file);
}

rpc::Failure open_failure(const FilePlace& place, int number, bool create) {
    return system_failure(
        number, fmt::format("Unable to {} resource {}", create ? "open/create" : "open", place.path),
        reason_of(number));
}

}  // namespace

Answer<LockedFile> take_lock(const FilePlace& place, bool shared, bool create) {
    for (int i = 0; i < k_tries; ++i) {
        UniqueFd file =
            open_beneath(place.directory, place.name, k_open | (create ? O_CREAT : 0), create ? k_mode : 0);
        if (!file) return tl::make_unexpected(open_failure(place, errno, create));
        struct stat about {};
        if (fstat(file.get(), &about) < 0) return tl::make_unexpected(open_failure(place, errno, create));
        if (!S_ISREG(about.st_mode) && !S_ISBLK(about.st_mode))
            return tl::make_unexpected(system_failure(EINVAL,
                                                      fmt::format("Unable to open resource {}", place.path),
                                                      "it is neither a file nor a disk"));
        switch (set_lock(file.get(), type_of(shared))) {
            case Locking::done: break;
            case Locking::busy: return tl::make_unexpected(is_locked(place.resource));
            case Locking::failed:
                return tl::make_unexpected(
                    system_failure(errno, fmt::format("Unable to acquire a lock on {}", place.path)));
        }
        // Whoever had it before may have removed the file between our opening and our locking.
        if (leads_to(place, about))
            return LockedFile{.file = std::move(file), .device = about.st_dev, .inode = about.st_ino};
    }
    return tl::make_unexpected(system_failure(
        EAGAIN, fmt::format("Unable to acquire a lock on {}", place.path), "it is replaced again and again"));
}

std::optional<LockedFile> take_lock_at(const std::string& path, bool shared) noexcept {
    UniqueFd file = open_without_links(path, k_open);
    struct stat about {};
    if (!file || fstat(file.get(), &about) < 0 || (!S_ISREG(about.st_mode) && !S_ISBLK(about.st_mode)) ||
        set_lock(file.get(), type_of(shared)) != Locking::done)
        return std::nullopt;
    const FilePlace place{.directory = AT_FDCWD, .name = path, .path = {}, .resource = {}};
    if (!leads_to(place, about)) return std::nullopt;
    return LockedFile{.file = std::move(file), .device = about.st_dev, .inode = about.st_ino};
}

bool confirm_lock(int file, bool shared) noexcept { return set_lock(file, type_of(shared)) == Locking::done; }

void give_back(UniqueFd file, const FilePlace& place, bool remove) noexcept {
    struct stat about {};
    // Removed while the write lock is held: whoever waits to create and lock it finds that it is another one then.
    if (remove && fstat(file.get(), &about) == 0 && about.st_size == 0 && leads_to(place, about) &&
        set_lock(file.get(), F_WRLCK) == Locking::done &&
        unlinkat(place.directory, place.name.c_str(), 0) < 0)
        Log{}.warning("cannot remove {}: {}", escape(place.path), reason_of(errno));
    // Other processes may have a copy of the descriptor for a while.
    set_lock(file.get(), F_UNLCK);
}

Answer<void> create_file(const FilePlace& place) {
    const UniqueFd file =
        open_beneath(place.directory, place.name, O_WRONLY | O_CREAT | O_NOCTTY | O_NONBLOCK, k_mode);
    if (file) return {};
    rpc::Failure failure =
        system_failure(errno, fmt::format("cannot create file '{}'", place.path), reason_of(errno));
    failure.domain = rpc::k_domain_none;
    return tl::make_unexpected(std::move(failure));
}

Answer<void> remove_file(const FilePlace& place) {
    const auto fail = [&](int number) {
        return tl::make_unexpected(system_failure(
            number, fmt::format("Unable to delete lockspace resource {}", place.path), reason_of(number)));
    };
    UniqueFd file = open_beneath(place.directory, place.name, k_open);
    if (!file && errno == ENOENT) return {};
    struct stat about {};
    if (!file || fstat(file.get(), &about) < 0) return fail(errno);
    if (!S_ISREG(about.st_mode) || about.st_size != 0)
        return tl::make_unexpected(forbidden(fmt::format("{} has content: it is no lock file", place.path),
                                             rpc::k_domain_lock_space));
    switch (set_lock(file.get(), F_WRLCK)) {
        case Locking::done: break;
        case Locking::busy: return tl::make_unexpected(is_locked(place.resource));
        case Locking::failed: return fail(errno);
    }
    if (leads_to(place, about) && unlinkat(place.directory, place.name.c_str(), 0) < 0 && errno != ENOENT)
        return fail(errno);
    return {};
}

}  // namespace virtgate::lockd::locker
