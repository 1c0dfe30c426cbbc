// SPDX-License-Identifier: LGPL-2.1-or-later
// fd - ownership of file descriptors.
//
// Owns: UniqueFd is the only type that owns a descriptor. A plain `int fd` is always borrowed.
#pragma once

#include <utility>

#include "libshared/base/result.h"

namespace virtgate {

class UniqueFd {
public:
    UniqueFd() noexcept = default;
    explicit UniqueFd(int fd) noexcept : fd_(fd) {}
    UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept;
    UniqueFd(const UniqueFd&) = delete;
    UniqueFd& operator=(const UniqueFd&) = delete;
    ~UniqueFd() { reset(); }

    [[nodiscard]] int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    // Gives the descriptor to the caller, who has to close it.
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
    // Closes what is held, if anything, and keeps errno.
    void reset() noexcept;

private:
    int fd_ = -1;
};

// Sets or clears O_NONBLOCK. Error: system's fault, if `fd` is not open.
Done set_nonblocking(int fd, bool on);

// Sets or clears FD_CLOEXEC. Error: system's fault, if `fd` is not open.
Done set_close_on_exec(int fd, bool on);

struct FdPair {
    UniqueFd first, second;
};

// A connected pair of SOCK_SEQPACKET sockets, close-on-exec; non-blocking at both ends unless `blocking`.
Result<FdPair> make_channel_pair(bool blocking = false);

// A new memfd `name` (seen in /proc only) that holds `bytes` and can never change again (sealed against writing,
// growing and shrinking).
// It is close-on-exec, and its file offset is 0.
Result<UniqueFd> make_sealed_memfd(const char* name, const void* bytes, unsigned long size);

}  // namespace virtgate
