// SPDX-License-Identifier: LGPL-2.1-or-later
// rows - system calls that several processes need.
#include "libshared/confine/rows.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "libshared/fdmap.h"

namespace virtgate::confine {

namespace {

constexpr int k_set_mdwe = 65;  // newer than the headers of the oldest system that we build on
constexpr int k_get_mdwe = 66;

// What makes a thread of this process and not a process; in no new namespace, since these flags exclude that.
constexpr unsigned long k_thread =
    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
constexpr unsigned long k_namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                       CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE |
                                       CLONE_VFORK;

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

constexpr Row k_thread_start[] = {
    refuse("clone3", ENOSYS, "its flags are out of sight; the C library then takes clone"),
    allow("clone", "threads, no processes", {has_of(0, k_thread | k_namespaces, k_thread)}),
    allow("set_robust_list", "a thread's first call"),
    allow("rseq", "a thread's first call"),
    allow("sched_getaffinity", "the C library looks for the size of a stack's guard and the processors"),
    allow("prctl", "names of threads", {is(0, PR_SET_NAME)}),
};

constexpr Row k_confining[] = {
    allow("seccomp", "the next filter"),
    allow("prctl", "no_new_privs", {is(0, PR_SET_NO_NEW_PRIVS)}),
    allow("prctl", "no_new_privs", {is(0, PR_GET_NO_NEW_PRIVS)}),
    allow("prctl", "closing the memory to others, not opening it", {is(0, PR_SET_DUMPABLE), is_null(1)}),
    allow("prctl", "reading it back", {is(0, PR_GET_DUMPABLE)}),
    allow("prctl", "no writable code", {is(0, k_set_mdwe)}),
    allow("prctl", "no writable code", {is(0, k_get_mdwe)}),
    allow("prctl", "the bounding set", {is(0, PR_CAPBSET_READ)}),
    allow("prctl", "the bounding set", {is(0, PR_CAPBSET_DROP)}),
    allow("prctl", "the secure bits", {is(0, PR_GET_SECUREBITS)}),
    allow("prctl", "the secure bits", {is(0, PR_SET_SECUREBITS)}),
    allow("prctl", "the ambient set", {is(0, PR_CAP_AMBIENT)}),
    allow("capget", "capabilities"),
    allow("capset", "capabilities; the kernel lets nobody take more than he may"),
    allow("gettid", "libcap-ng names the thread"),
    allow("getpid", "libcap-ng names the process"),
    allow("prlimit64", "rlimits of this process", {is(0, 0)}),
    allow("close_range", "descriptors that are not meant for it"),
    allow("landlock_create_ruleset", "Landlock"),
    allow("landlock_add_rule", "Landlock"),
    allow("landlock_restrict_self", "Landlock"),
    allow("openat", "reading files and /proc",
          {has_of(2, O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND, O_RDONLY)}),
    allow("fstat", "the kinds of descriptors"),
    allow("newfstatat", "fstat of the C library; counting threads"),
    allow("readlink", "the kinds of descriptors"),
    allow("readlinkat", "the same, where there is no readlink"),
    allow("getdents64", "/proc/self/fd"),
    allow("lseek", "files of the C library"),
    allow("pread64", "files"),
    allow("getsockopt", "the kinds of descriptors"),
    allow("fcntl", "flags of descriptors; no copies, no signals", {is(1, F_GETFL)}),
    allow("fcntl", "flags of descriptors", {is(1, F_SETFL)}),
    allow("fcntl", "flags of descriptors", {is(1, F_GETFD)}),
    allow("fcntl", "flags of descriptors", {is(1, F_SETFD)}),
};

constexpr Row k_supervisor[] = {
    allow("read", "files: configuration, policies, certificates, what children load"),
    allow("write", "files: configuration, policies, certificates, what children load"),
    allow("readv", "files: configuration, policies, certificates, what children load"),
    allow("writev", "files: configuration, policies, certificates, what children load"),
    allow("pread64", "files: configuration, policies, certificates, what children load"),
    allow("pwrite64", "files: configuration, policies, certificates, what children load"),
    allow("openat", "files: configuration, policies, certificates, what children load"),
    allow("open", "files: configuration, policies, certificates, what children load"),
    allow("close", "files: configuration, policies, certificates, what children load"),
    allow("close_range", "files: configuration, policies, certificates, what children load"),
    allow("access", "files: configuration, policies, certificates, what children load"),
    allow("faccessat", "files: configuration, policies, certificates, what children load"),
    allow("faccessat2", "files: configuration, policies, certificates, what children load"),
    allow("newfstatat", "files: configuration, policies, certificates, what children load"),
    allow("fstat", "files: configuration, policies, certificates, what children load"),
    allow("stat", "files: configuration, policies, certificates, what children load"),
    allow("lstat", "files: configuration, policies, certificates, what children load"),
    allow("statx", "files: configuration, policies, certificates, what children load"),
    allow("statfs", "files: configuration, policies, certificates, what children load"),
    allow("fstatfs", "files: configuration, policies, certificates, what children load"),
    allow("lseek", "files: configuration, policies, certificates, what children load"),
    allow("readlink", "files: configuration, policies, certificates, what children load"),
    allow("readlinkat", "files: configuration, policies, certificates, what children load"),
    allow("getdents64", "files: configuration, policies, certificates, what children load"),
    allow("getcwd", "files: configuration, policies, certificates, what children load"),
    allow("fcntl", "files: configuration, policies, certificates, what children load"),
    allow("ioctl", "files: configuration, policies, certificates, what children load"),
    allow("dup", "files: configuration, policies, certificates, what children load"),
    allow("dup2", "files: configuration, policies, certificates, what children load"),
    allow("dup3", "files: configuration, policies, certificates, what children load"),
    allow("memfd_create", "files: configuration, policies, certificates, what children load"),
    allow("ftruncate", "files: configuration, policies, certificates, what children load"),
    allow("fsync", "files: configuration, policies, certificates, what children load"),
    allow("fdatasync", "files: configuration, policies, certificates, what children load"),
    allow("fadvise64", "files: configuration, policies, certificates, what children load"),
    allow("unlink", "names of sockets and files that are made, and removed at the end"),
    allow("unlinkat", "names of sockets and files that are made, and removed at the end"),
    allow("rename", "names of sockets and files that are made, and removed at the end"),
    allow("renameat", "names of sockets and files that are made, and removed at the end"),
    allow("renameat2", "names of sockets and files that are made, and removed at the end"),
    allow("mkdir", "names of sockets and files that are made, and removed at the end"),
    allow("mkdirat", "names of sockets and files that are made, and removed at the end"),
    allow("fchmod", "names of sockets and files that are made, and removed at the end"),
    allow("chmod", "names of sockets and files that are made, and removed at the end"),
    allow("fchmodat", "names of sockets and files that are made, and removed at the end"),
    allow("chown", "names of sockets and files that are made, and removed at the end"),
    allow("fchown", "names of sockets and files that are made, and removed at the end"),
    allow("fchownat", "names of sockets and files that are made, and removed at the end"),
    allow("umask", "names of sockets and files that are made, and removed at the end"),
    allow("epoll_create1", "the loop, and changes of files"),
    allow("epoll_ctl", "the loop, and changes of files"),
    allow("epoll_wait", "the loop, and changes of files"),
    allow("epoll_pwait", "the loop, and changes of files"),
    allow("epoll_pwait2", "the loop, and changes of files"),
    allow("eventfd2", "the loop, and changes of files"),
    allow("timerfd_create", "the loop, and changes of files"),
    allow("timerfd_settime", "the loop, and changes of files"),
    allow("pipe2", "the loop, and changes of files"),
    allow("poll", "the loop, and changes of files"),
    allow("ppoll", "the loop, and changes of files"),
    allow("select", "the loop, and changes of files"),
    allow("pselect6", "the loop, and changes of files"),
    allow("inotify_init1", "the loop, and changes of files"),
    allow("inotify_add_watch", "the loop, and changes of files"),
    allow("inotify_rm_watch", "the loop, and changes of files"),
    allow("socketpair", "channels, the service manager, the daemons' sockets"),
    allow("connect", "channels, the service manager, the daemons' sockets"),
    allow("accept4", "channels, the service manager, the daemons' sockets"),
    allow("bind", "channels, the service manager, the daemons' sockets"),
    allow("listen", "channels, the service manager, the daemons' sockets"),
    allow("getsockname", "channels, the service manager, the daemons' sockets"),
    allow("getpeername", "channels, the service manager, the daemons' sockets"),
    allow("getsockopt", "channels, the service manager, the daemons' sockets"),
    allow("setsockopt", "channels, the service manager, the daemons' sockets"),
    allow("sendmsg", "channels, the service manager, the daemons' sockets"),
    allow("sendto", "channels, the service manager, the daemons' sockets"),
    allow("recvmsg", "channels, the service manager, the daemons' sockets"),
    allow("recvfrom", "channels, the service manager, the daemons' sockets"),
    allow("shutdown", "channels, the service manager, the daemons' sockets"),
    allow("brk", "memory"),
    allow("mmap", "memory"),
    allow("munmap", "memory"),
    allow("mremap", "memory"),
    allow("mprotect", "memory"),
    allow("madvise", "memory"),
    allow("mlockall", "memory"),
    allow("mseal", "memory"),
    allow("fork", "children and their threads"),
    allow("vfork", "children and their threads"),
    allow("execve", "children and their threads"),
    allow("wait4", "children and their threads"),
    allow("waitid", "children and their threads"),
    allow("kill", "children and their threads"),
    allow("tgkill", "children and their threads"),
    allow("pidfd_open", "children and their threads"),
    allow("pidfd_send_signal", "children and their threads"),
    allow("set_tid_address", "children and their threads"),
    allow("set_robust_list", "children and their threads"),
    allow("rseq", "children and their threads"),
    allow("futex", "children and their threads"),
    allow("setsid", "children and their threads"),
    allow("setpriority", "children and their threads"),
    allow("getpriority", "children and their threads"),
    allow("sched_getaffinity", "children and their threads"),
    allow("sched_yield", "children and their threads"),
    allow("exit", "children and their threads"),
    allow("exit_group", "children and their threads"),
    allow("restart_syscall", "children and their threads"),
    allow("arch_prctl", "children and their threads"),
    allow("getpid", "who a process is, and what it gives up"),
    allow("gettid", "who a process is, and what it gives up"),
    allow("getppid", "who a process is, and what it gives up"),
    allow("getuid", "who a process is, and what it gives up"),
    allow("geteuid", "who a process is, and what it gives up"),
    allow("getgid", "who a process is, and what it gives up"),
    allow("getegid", "who a process is, and what it gives up"),
    allow("getgroups", "who a process is, and what it gives up"),
    allow("setgroups", "who a process is, and what it gives up"),
    allow("setuid", "who a process is, and what it gives up"),
    allow("setgid", "who a process is, and what it gives up"),
    allow("setresuid", "who a process is, and what it gives up"),
    allow("setresgid", "who a process is, and what it gives up"),
    allow("getresuid", "who a process is, and what it gives up"),
    allow("getresgid", "who a process is, and what it gives up"),
    allow("prctl", "who a process is, and what it gives up"),
    allow("capget", "who a process is, and what it gives up"),
    allow("capset", "who a process is, and what it gives up"),
    allow("seccomp", "who a process is, and what it gives up"),
    allow("landlock_create_ruleset", "who a process is, and what it gives up"),
    allow("landlock_add_rule", "who a process is, and what it gives up"),
    allow("landlock_restrict_self", "who a process is, and what it gives up"),
    allow("prlimit64", "who a process is, and what it gives up"),
    allow("getrlimit", "who a process is, and what it gives up"),
    allow("setrlimit", "who a process is, and what it gives up"),
    allow("getrusage", "who a process is, and what it gives up"),
    allow("uname", "who a process is, and what it gives up"),
    allow("sysinfo", "who a process is, and what it gives up"),
    allow("clock_gettime", "time, signals, random numbers"),
    allow("clock_getres", "time, signals, random numbers"),
    allow("clock_nanosleep", "time, signals, random numbers"),
    allow("nanosleep", "time, signals, random numbers"),
    allow("gettimeofday", "time, signals, random numbers"),
    allow("time", "time, signals, random numbers"),
    allow("alarm", "time, signals, random numbers"),
    allow("setitimer", "time, signals, random numbers"),
    allow("rt_sigaction", "time, signals, random numbers"),
    allow("rt_sigprocmask", "time, signals, random numbers"),
    allow("rt_sigreturn", "time, signals, random numbers"),
    allow("sigaltstack", "time, signals, random numbers"),
    allow("getrandom", "time, signals, random numbers"),
    refuse("clone3", ENOSYS, "its flags are out of sight; the C library then takes clone"),
    allow("clone", "children and their threads; in no new namespace",
          {lacks(0, k_namespaces & ~CLONE_VFORK)}),
    allow("socket", "channels, the service manager, the journal", {is(0, AF_UNIX)}),
    allow("socket", "name services, at the start of a child", {is(0, AF_INET)}),
    allow("socket", "name services, at the start of a child", {is(0, AF_INET6)}),
    allow("socket", "name services, at the start of a child", {is(0, AF_NETLINK)}),
};

}  // namespace

std::span<const Row> runtime_rows() noexcept { return k_runtime; }
std::span<const Row> loop_rows() noexcept { return k_loop; }
std::span<const Row> channel_rows() noexcept { return k_channel; }
std::span<const Row> own_socket_rows() noexcept { return k_own_sockets; }
std::span<const Row> thread_rows() noexcept { return k_thread_start; }
std::span<const Row> confining_rows() noexcept { return k_confining; }
std::span<const Row> supervisor_rows() noexcept { return k_supervisor; }

}  // namespace virtgate::confine
