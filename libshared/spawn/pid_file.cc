// SPDX-License-Identifier: LGPL-2.1-or-later
// pid_file - one instance of a daemon, and a file that says which process it is.
#include "libshared/spawn/pid_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "libshared/base/path_fault.h"
#include "libshared/base/process.h"

namespace virtgate::spawn {

namespace {

constexpr mode_t k_mode = 0644;
// Each turn is another process that ends at that moment.
constexpr int k_turns = 100;

// Whether `path` is the name of the open file.
bool is_named(const UniqueFd& file, const std::string& path) noexcept {
    struct stat ours {
    }, named{};
    return fstat(file.get(), &ours) == 0 && lstat(path.c_str(), &named) == 0 && ours.st_dev == named.st_dev &&
           ours.st_ino == named.st_ino;
}

struct flock whole_file() noexcept {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return lock;
}

}  // namespace

Result<PidFile> PidFile::claim(const std::string& path) {
    for (int turn = 0; turn < k_turns; ++turn) {
        UniqueFd file{
            open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, k_mode)};
        struct stat facts {};
        if (!file || fstat(file.get(), &facts) < 0)
            return path_fault(errno, "cannot open the pid file", path);
        if (!S_ISREG(facts.st_mode)) return system_fault(0, fmt::format("the pid file {} is no file", path));
        struct flock lock = whole_file();
        if (fcntl(file.get(), F_SETLK, &lock) < 0) {
            if (errno != EAGAIN && errno != EACCES)
                return system_fault(errno, fmt::format("cannot lock the pid file {}", path));
            lock = whole_file();
            if (fcntl(file.get(), F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
                return taken(fmt::format("the pid file {} belongs to {}", path, name_process(lock.l_pid)));
            continue;  // it has just ended
        }
        // Whoever had it may have removed the name between open() and the lock.
        if (!is_named(file, path)) continue;
        const std::string text = fmt::format("{}\n", getpid());
        // In this order its first line is a number at any moment.
        if (pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) ||
            ftruncate(file.get(), static_cast<off_t>(text.size())) < 0)
            return path_fault(errno, "cannot write the pid file", path);
        return PidFile(path, std::move(file));
    }
    return system_fault(EBUSY, fmt::format("the pid file {} goes from one process to another", path));
}

PidFile::~PidFile() {
    // The name goes while the lock is ours, so that it is nobody else's.
    if (file_ && is_named(file_, path_)) unlink(path_.c_str());
}

}  // namespace virtgate::spawn
