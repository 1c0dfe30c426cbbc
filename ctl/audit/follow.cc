// SPDX-License-Identifier: LGPL-2.1-or-later
// follow - a file of records that grows, also while it is rotated.
#include "ctl/audit/follow.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "libshared/base/path_fault.h"

namespace virtgate::ctl::audit {

namespace {

UniqueFd open_file(const std::string& path) noexcept {
    return UniqueFd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)};
}

}  // namespace

Result<Follower> Follower::open(const std::string& path) {
    UniqueFd file = open_file(path);
    if (!file) return path_fault(errno, "cannot open", path);
    return Follower(path, std::move(file));
}

Done Follower::read_on(const std::function<bool(std::string_view)>& take) {
    std::array<char, 65536> buffer;
    for (;;) {
        const ssize_t size = pread(file_.get(), buffer.data(), buffer.size(), offset_);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return path_fault(errno, "cannot read", path_);
        if (size == 0) return {};
        offset_ += size;
        if (!lines_.feed({buffer.data(), static_cast<std::size_t>(size)}, take)) return {};
    }
}

// True if there is something else to read, from its beginning: another file, or a shorter one.
bool Follower::renew() {
    struct stat ours {};
    struct stat named {};
    if (fstat(file_.get(), &ours) < 0) return false;
    if (ours.st_size < offset_) {
        offset_ = 0;
        static_cast<void>(lines_.take_rest());
        return true;
    }
    // Between the renaming and the new file there may be none.
    if (stat(path_.c_str(), &named) < 0) return false;
    if (named.st_dev == ours.st_dev && named.st_ino == ours.st_ino) return false;
    UniqueFd file = open_file(path_);
    if (!file) return false;
    file_ = std::move(file);
    offset_ = 0;
    static_cast<void>(lines_.take_rest());
    return true;
}

Result<std::uint64_t> Follower::poll(const std::function<bool(std::string_view)>& take) {
    if (Done done = read_on(take); !done) return tl::unexpected(done.error());
    // The auditor may have written to the old file until the new one was there: that is read above, the next time at
    // the latest, and only then is the old one left.
    if (struct stat status{}; fstat(file_.get(), &status) == 0 && status.st_size > offset_)
        return lines_.too_long();
    if (renew())
        if (Done done = read_on(take); !done) return tl::unexpected(done.error());
    return lines_.too_long();
}

}  // namespace virtgate::ctl::audit
