// SPDX-License-Identifier: LGPL-2.1-or-later
// descriptors - a process has those that are meant for it, and no other.
//
// Trust:  a descriptor that came along by mistake is a right that nobody gave: of a parent's configuration,
//         another session, a directory. So all that are not named are closed, and afterwards what is open is
//         compared with what is meant, by kind.
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
    int fd = -1;
    std::vector<FdKind> kinds;  // any of these; empty: whatever it is
};

// Closes every descriptor that is not in `keep` (any order, doublets do no harm; one that is not open
// either).
// Source: close_range(2), Linux 5.9. Error: system's fault.
Done close_all_but(std::span<const int> keep, Report& report);

// What `fd` is. Error: system's fault, if it is not open.
Result<FdKind> find_kind(int fd);

// All that are open now, by number, from /proc/self/fd; not the one that this reading takes.
// Error: system's fault.
Result<std::vector<OpenFd>> list_descriptors();

// Compares what is open with what is meant: each of `meant` is open and of one of its kinds, and no other is
// open but those of event loops, whose numbers nobody chooses.
// Error: system's fault that names every difference.
Done check_descriptors(std::span<const MeantFd> meant);

}  // namespace virtgate::confine
