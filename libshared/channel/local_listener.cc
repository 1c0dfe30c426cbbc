// SPDX-License-Identifier: LGPL-2.1-or-later
// local_listener - a listening UNIX socket with a name in the file system.
#include "libshared/channel/local_listener.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "libshared/base/path_fault.h"
#include "libshared/base/process.h"

namespace virtgate::channel {

namespace {

UniqueFd make_socket(int type) noexcept {
    return UniqueFd{socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
}

// Removes what a process that is dead left at `path`. Anything but a socket, or one that answers, stays.
Done remove_stale(const std::string& path, const sockaddr_un& address, int type) {
    struct stat status {};
    if (lstat(path.c_str(), &status) != 0)
        return errno == ENOENT ? Done{} : path_fault(errno, "cannot look at", path);
    if (!S_ISSOCK(status.st_mode)) return system_fault(0, path + " is there and is not a socket");
    const UniqueFd probe = make_socket(type);
    if (!probe) return system_fault(errno, "cannot make a socket");
    if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
        ucred peer{};
        socklen_t size = sizeof peer;
        if (getsockopt(probe.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0)
            return taken(fmt::format("{} is served by {}", path, name_process(peer.pid)));
        errno = EAGAIN;
    }
    if (errno == EAGAIN || errno == EPROTOTYPE) return taken(path + " is served by another process");
    if (errno != ECONNREFUSED) return path_fault(errno, "cannot find out who serves", path);
    return unlink(path.c_str()) == 0 ? Done{} : path_fault(errno, "cannot remove the old", path);
}

}  // namespace

Result<LocalListener> LocalListener::open(const std::string& path, const Options& options) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) return system_fault(ENAMETOOLONG, path);
    std::memcpy(address.sun_path, path.data(), path.size());
    if (auto done = remove_stale(path, address, options.type); !done)
        return tl::unexpected(std::move(done.error()));
    LocalListener listener;
    listener.socket_ = make_socket(options.type);
    if (!listener.socket_) return system_fault(errno, "cannot make a socket");
    const mode_t old = umask(0777 & ~options.mode);
    const int bound = bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    const int number = errno;
    umask(old);
    if (bound != 0) return path_fault(number, "cannot bind", path);
    listener.note_name(path);
    if (options.group && chown(path.c_str(), static_cast<uid_t>(-1), *options.group) != 0)
        return system_fault(errno, "cannot give the group " + path);
    // Nobody can connect before this, so nobody came before the mode and the group were right.
    if (listen(listener.get(), options.backlog) != 0) return system_fault(errno, "cannot listen at " + path);
    return listener;
}

LocalListener LocalListener::adopt(UniqueFd socket, std::string path) {
    LocalListener listener;
    listener.socket_ = std::move(socket);
    if (!path.empty()) listener.note_name(std::move(path));
    return listener;
}

void LocalListener::note_name(std::string path) {
    path_ = std::move(path);
    struct stat status {};
    if (lstat(path_.c_str(), &status) != 0) return;
    device_ = status.st_dev;
    inode_ = status.st_ino;
}

LocalListener::LocalListener(LocalListener&& other) noexcept
    : path_(std::exchange(other.path_, {})),
      socket_(std::move(other.socket_)),
      device_(other.device_),
      inode_(other.inode_) {}

LocalListener& LocalListener::operator=(LocalListener&& other) noexcept {
    if (this != &other) {
        remove();
        path_ = std::exchange(other.path_, {});
        socket_ = std::move(other.socket_);
        device_ = other.device_;
        inode_ = other.inode_;
    }
    return *this;
}

// Somebody may have replaced it; theirs stays.
void LocalListener::remove() noexcept {
    if (path_.empty()) return;
    struct stat status {};
    if (lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_)
        unlink(path_.c_str());
    path_.clear();
}

}  // namespace virtgate::channel
