// SPDX-License-Identifier: LGPL-2.1-or-later
// rows - system calls that several processes need.
#include "libshared/confine/rows.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>

#include "libshared/fdmap.h"

namespace virtgate::confine {

namespace {

constexpr Row k_runtime[] = {
    allow("read", "channels, eventfd, the last self-check"),
    allow("write", "log lines; waking another thread"),
    allow("close", "what a peer sent along and is not wanted; ended sessions"),
    allow("brk", "malloc"),
    allow("mmap", "malloc of much; neither code, nor a file, nor over what is there",
          {lacks(2, PROT_EXEC), has_of(3, MAP_ANONYMOUS | MAP_FIXED | MAP_FIXED_NOREPLACE, MAP_ANONYMOUS)}),
    allow("munmap", "free of much"),
    allow("mremap", "realloc of much; not to a chosen place", {lacks(3, MREMAP_FIXED)}),
    allow("mprotect", "malloc's arenas grow; never code", {lacks(2, PROT_EXEC)}),
    allow("madvise", "malloc gives memory back", {is(2, MADV_DONTNEED)}),
    allow("futex", "locks, condition variables"),
    allow("getrandom", "the random generator's new seed; hash tables"),
    allow("clock_gettime", "where the vDSO has no clock"),
    allow("gettimeofday", "where the vDSO has no clock"),
    allow("time", "where the vDSO has no clock"),
    allow("rt_sigreturn", "the end of a signal handler"),
    allow("rt_sigprocmask", "the C library, around abort and the end of a thread"),
    allow("restart_syscall", "the kernel, after a stop"),
    allow("exit", "the end of a thread"),
    allow("exit_group", "the end"),
};

constexpr Row k_loop[] = {
    allow("epoll_wait", "libevent's loop"),
    allow("epoll_pwait", "the same, where there is no epoll_wait"),
    allow("epoll_pwait2", "the same, with finer time"),
    allow("epoll_ctl", "descriptors come and go"),
    allow("timerfd_settime", "libevent's precise timer"),
    allow("rt_sigaction", "handlers are taken back at the end"),
};

constexpr Row k_channel[] = {
    allow("sendmsg", "packets, with descriptors"),
    allow("recvmsg", "packets, with descriptors"),
    allow("recvfrom", "looking at the length of a packet", {is_null(4)}),
    allow("sendto", "packets without descriptors, to the connected peer alone", {is_null(4)}),
    allow("fcntl", "a channel that was passed on does not block", {is(1, F_GETFL)}),
};

// Descriptors from k_first on have one of these bits in their number: no filter can compare with "at least" and not look
// at the upper half of the register, which the kernel ignores. Those between the last one of fdmap.h and that are named.
constexpr unsigned k_first_bit = 3, k_last_bit = 19;
constexpr unsigned k_first = 1U << k_first_bit, k_first_named = fdmap::k_last + 1;
static_assert(k_first >= k_first_named, "a listener has a number that looks like a connection's");

constexpr auto k_own_sockets = [] {
    std::array<Row, std::size_t{3} * (k_last_bit - k_first_bit + 1 + k_first - k_first_named)> rows{};
    std::size_t count = 0;
    const auto add = [&](const Where& is_own) {
        rows.at(count++) =
            allow("shutdown", "the end of a connection; never of a listener that others have too", {is_own});
        rows.at(count++) =
            allow("fcntl", "descriptors that wait in a queue are copied", {is_own, is(1, F_DUPFD_CLOEXEC)});
        rows.at(count++) =
            allow("fcntl", "a channel that was passed on does not block; nor does it send signals",
                  {is_own, is(1, F_SETFL), lacks(2, O_ASYNC)});
    };
    for (unsigned number = k_first_named; number < k_first; ++number) add(is(0, number));
    for (unsigned bit = k_first_bit; bit <= k_last_bit; ++bit)
        add(has_of(0, std::uint64_t{1} << bit, std::uint64_t{1} << bit));
    return rows;
}();

}  // namespace

std::span<const Row> runtime_rows() noexcept { return k_runtime; }
std::span<const Row> loop_rows() noexcept { return k_loop; }
std::span<const Row> channel_rows() noexcept { return k_channel; }
std::span<const Row> own_socket_rows() noexcept { return k_own_sockets; }

}  // namespace virtgate::confine
