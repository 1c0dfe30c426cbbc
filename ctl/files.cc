// SPDX-License-Identifier: LGPL-2.1-or-later
// files - small text files that are there completely or not at all.
#include "ctl/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "libshared/base/fd.h"
#include "libshared/base/path_fault.h"

namespace virtgate::ctl {

namespace {

Done write_all(int fd, const std::string& path, std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = write(fd, text.data(), text.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return path_fault(errno, "cannot write", path);
        text.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
}

}  // namespace

Done make_directory(const std::string& path, mode_t mode) {
    if (mkdir(path.c_str(), mode) == 0) return {};
    const int number = errno;
    struct stat found {};
    if (number == EEXIST && stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode)) return {};
    return path_fault(number, "cannot make the directory", path);
}

Done write_new_file(const std::string& path, std::string_view text, mode_t mode) {
    UniqueFd fd{open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)};
    if (!fd) return path_fault(errno, "cannot make", path);
    Done done = write_all(fd.get(), path, text);
    // The umask may have taken bits away; it cannot add any, so a key was never readable by others meanwhile.
    if (done && fchmod(fd.get(), mode) < 0)
        done = system_fault(errno, fmt::format("cannot set the mode of {}", path));
    if (done && fsync(fd.get()) < 0) done = path_fault(errno, "cannot write", path);
    if (!done) unlink(path.c_str());
    return done;
}

namespace {

// By rename(): a daemon that reads the file just then gets the whole old one.
Done rename_over(const std::string& fresh, const std::string& path) {
    if (rename(fresh.c_str(), path.c_str()) == 0) {
        const std::size_t slash = path.rfind('/');
        return sync_directory(slash == std::string::npos ? "." : path.substr(0, slash + 1));
    }
    const int number = errno;
    unlink(fresh.c_str());
    return path_fault(number, "cannot replace", path);
}

std::string fresh_name(const std::string& path) {
    std::string fresh = fmt::format("{}.{}.new", path, getpid());
    unlink(fresh.c_str());  // left by a process that had our pid and was killed
    return fresh;
}

}  // namespace

Done replace_file(const std::string& path, std::string_view text, mode_t mode) {
    const std::string fresh = fresh_name(path);
    if (Done done = write_new_file(fresh, text, mode); !done) return done;
    return rename_over(fresh, path);
}

Done replace_file(const std::string& path, std::string_view text, const struct stat& like) {
    const std::string fresh = fresh_name(path);
    // Nobody reads it before it has its owner.
    if (Done done = write_new_file(fresh, text, 0600); !done) return done;
    if (lchown(fresh.c_str(), like.st_uid, like.st_gid) == 0 &&
        chmod(fresh.c_str(), like.st_mode & 07777) == 0)
        return rename_over(fresh, path);
    const int number = errno;
    unlink(fresh.c_str());
    return system_fault(number, fmt::format("cannot give {} its owner and mode", path));
}

Done sync_directory(const std::string& path) {
    const UniqueFd fd{open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!fd || fsync(fd.get()) < 0) return path_fault(errno, "cannot write", path);
    return {};
}

Result<std::string> read_file(const std::string& path) {
    UniqueFd fd{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)};
    if (!fd) return path_fault(errno, "cannot read", path);
    std::string text;
    char part[8192];
    for (;;) {
        const ssize_t n = read(fd.get(), part, sizeof part);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return path_fault(errno, "cannot read", path);
        if (n == 0) return text;
        text.append(part, static_cast<std::size_t>(n));
        if (text.size() > k_file_max) return system_fault(EFBIG, fmt::format("cannot read {}", path));
    }
}

Result<std::string> absolute_path(const std::string& path) {
    std::error_code failure;
    const std::filesystem::path whole = std::filesystem::weakly_canonical(path, failure);
    if (failure) return system_fault(failure.value(), fmt::format("cannot follow the path {}", path));
    // weakly_canonical() leaves a path whose first part does not exist relative.
    std::filesystem::path result = std::filesystem::absolute(whole, failure);
    if (failure) return system_fault(failure.value(), fmt::format("cannot follow the path {}", path));
    std::string text = result.lexically_normal().string();
    while (text.size() > 1 && text.back() == '/') text.pop_back();
    return text;
}

}  // namespace virtgate::ctl
