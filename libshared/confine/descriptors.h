// SPDX-License-Identifier: LGPL-2.1-or-later
// descriptors - a process has those that are meant for it, and no other.
//
// Trust:  a descriptor that came along by mistake is a right that nobody gave: of a parent's configuration,
//         another session, a directory. So what is open is compared with what is meant, by kind.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "libshared/base/fd.h"
#include "libshared/confine/report.h"

namespace virtgate::confine {

// What a descriptor refers to.
enum class FdKind : unsigned char {
    null,       // /dev/null
    pipe,       // a pipe or FIFO, either end
    channel,    // a UNIX socket of type SOCK_SEQPACKET that does not listen
    stream,     // a connected stream socket, of any family
    listener,   // a socket that listens, of any family
    datagrams,  // a UNIX socket of type SOCK_DGRAM
    file,       // a regular file, or one in memory
    directory,  // of whatever file system
    loop,       // epoll, eventfd, timerfd, signalfd; a pipe of which both ends are here (list_descriptors())
    other,      // what else there is: a terminal, a packet socket, a device, …
};

[[nodiscard]] std::string_view to_text(FdKind kind) noexcept;

struct OpenFd {
    int fd = -1;
    FdKind kind = FdKind::other;
    bool operator==(const OpenFd&) const = default;
};

// A descriptor that has to be there, and what it may be.
struct MeantFd {
    // As many as there are, whatever their numbers, none among them: libraries and loops choose those.
    static constexpr int k_any_number = -1;

    int fd = k_any_number;
    std::vector<FdKind> kinds;  // any of these; empty: whatever it is

    [[nodiscard]] bool may_be(FdKind kind) const noexcept;
    [[nodiscard]] bool covers(const OpenFd& open) const noexcept;
};

// What every child of ours has (libshared/fdmap.h): the three standard descriptors, the channel to its parent, which is
// of the kind `control`, and what its event loops take; and `own`.
[[nodiscard]] std::vector<MeantFd> child_descriptors(FdKind control = FdKind::channel,
                                                     std::vector<MeantFd> own = {});

// What `fd` is. Error: system's fault, if it is not open.
Result<FdKind> find_kind(int fd);

// All that are open now, by number, from /proc/self/fd; not the one that this reading takes.
// Error: system's fault.
Result<std::vector<OpenFd>> list_descriptors();

// Compares what is open with what is meant: each number of `meant` is open and of one of its kinds, and no other is
// open but of the kinds that are meant without a number.
// Error: system's fault that names every difference.
Done check_descriptors(std::span<const MeantFd> meant);

}  // namespace virtgate::confine
