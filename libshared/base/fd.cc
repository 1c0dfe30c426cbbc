// SPDX-License-Identifier: LGPL-2.1-or-later
// fd - ownership of file descriptors.
#include "libshared/base/fd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace virtgate {

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
        reset();
        fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
}

void UniqueFd::reset() noexcept {
    if (fd_ < 0) return;
    // close() may fail late (EIO, EINTR); the descriptor is gone in every case on Linux, so nothing is left to do.
    const int saved = errno;
    close(std::exchange(fd_, -1));
    errno = saved;
}

namespace {

Done change_flag(int fd, int get, int set, int flag, bool on) {
    const int flags = fcntl(fd, get);
    if (flags < 0 || fcntl(fd, set, on ? flags | flag : flags & ~flag) < 0)
        return system_fault(errno, fmt::format("fcntl on descriptor {}", fd));
    return {};
}

}  // namespace

Done set_nonblocking(int fd, bool on) { return change_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on); }

Done set_close_on_exec(int fd, bool on) { return change_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on); }

Result<FdPair> make_channel_pair(bool blocking) {
    int ends[2];
    const int type = SOCK_SEQPACKET | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK);
    if (socketpair(AF_UNIX, type, 0, ends) < 0) return system_fault(errno, "cannot make a socket pair");
    return FdPair{UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

Result<UniqueFd> make_sealed_memfd(const char* name, const void* bytes, unsigned long size) {
    UniqueFd fd{memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    if (!fd) return system_fault(errno, "cannot make a memory file");
    for (unsigned long done = 0; done < size;) {
        const ssize_t n = write(fd.get(), static_cast<const char*>(bytes) + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_fault(errno, "cannot fill a memory file");
        done += static_cast<unsigned long>(n);
    }
    if (lseek(fd.get(), 0, SEEK_SET) < 0 ||
        fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return system_fault(errno, "cannot seal a memory file");
    return fd;
}

}  // namespace virtgate
