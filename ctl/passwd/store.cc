// SPDX-License-Identifier: LGPL-2.1-or-later
// store - the file of users on the disk: read, and replaced in one step.
#include "ctl/passwd/store.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "config.h"
#include "ctl/files.h"
#include "libshared/base/path_fault.h"
#include "libshared/spawn/self.h"

namespace virtgate::ctl::passwd {

namespace {

std::string directory_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == 0 ? "/" : path.substr(0, slash);
}

// The group of the processes that read the file, if there is one.
std::optional<gid_t> find_reader_group() {
    const group* found = getgrnam(VIRTGATE_AUTH_USER);
    if (found == nullptr) return {};
    return found->gr_gid;
}

Done write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = ::write(fd, text.data(), text.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_fault(errno, "cannot write");
        text.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
}

}  // namespace

Result<Store> Store::open(const std::string& name, bool change) {
    // A symbolic link stays one: what it leads to is replaced.
    const Result<std::string> path = absolute_path(name);
    if (!path) return tl::make_unexpected(path.error());
    UniqueFd directory;
    if (change) {
        directory = UniqueFd{::open(directory_of(*path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        if (!directory) return system_fault(errno, fmt::format("cannot open the directory of {}", *path));
        if (access(directory_of(*path).c_str(), W_OK) < 0)
            return system_fault(errno, fmt::format("cannot change files in the directory of {}", *path));
        while (flock(directory.get(), LOCK_EX) < 0)
            if (errno != EINTR)
                return system_fault(errno, fmt::format("cannot lock the directory of {}", *path));
    }
    const UniqueFd file{::open(path->c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)};
    if (!file && errno == ENOENT && change) {
        Store store{*path, userdb::Users::make_new()};
        store.directory_ = std::move(directory);
        return store;
    }
    struct stat status {};
    if (!file || fstat(file.get(), &status) < 0) return path_fault(errno, "cannot read", *path);
    if (!S_ISREG(status.st_mode)) return system_fault(0, fmt::format("{} is no regular file", *path));
    const auto bytes = spawn::read_file(file.get(), userdb::k_file_max);
    if (!bytes) return wrap(bytes.error(), *path);
    auto users = userdb::Users::parse(as_text(*bytes));
    if (!users) return system_fault(0, fmt::format("{}: {}", *path, users.error().text));
    Store store{*path, std::move(*users)};
    store.directory_ = std::move(directory);
    store.keep_ = Access{status.st_uid, status.st_gid, status.st_mode & 07777};
    return store;
}

Done Store::save() {
    require(static_cast<bool>(directory_), "a file of users that is saved without its lock");
    const std::string text = users_.to_text();
    if (text.size() > userdb::k_file_max) return system_fault(0, fmt::format("{} would be too large", path_));
    const auto readers = keep_ || geteuid() != 0 ? std::nullopt : find_reader_group();
    const Access access =
        keep_ ? *keep_ : Access{geteuid(), readers.value_or(getegid()), readers ? 0640U : 0600U};

    const std::string fresh = fmt::format("{}.{}.new", path_, getpid());
    unlink(fresh.c_str());  // left by a process that had our pid and was killed
    const UniqueFd file{::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
    if (!file) return path_fault(errno, "cannot make", fresh);
    Done done = write_all(file.get(), text);
    // First whose it is, then who may read it.
    if (done && (access.uid != geteuid() || access.gid != getegid() || keep_) &&
        fchown(file.get(), access.uid, access.gid) < 0)
        done = system_fault(errno, "cannot keep owner and group");
    if (done && fchmod(file.get(), access.mode) < 0) done = system_fault(errno, "cannot set the mode");
    if (done && fsync(file.get()) < 0) done = system_fault(errno, "cannot write");
    if (done && rename(fresh.c_str(), path_.c_str()) < 0) done = system_fault(errno, "cannot replace it");
    if (!done) {
        unlink(fresh.c_str());
        return wrap(std::move(done.error()), path_);
    }
    if (fsync(directory_.get()) < 0)
        return system_fault(errno, fmt::format("cannot write the directory of {}", path_));
    return {};
}

}  // namespace virtgate::ctl::passwd
