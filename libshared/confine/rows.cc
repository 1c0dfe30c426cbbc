// SPDX-License-Identifier: LGPL-2.1-or-later
// rows - system calls that several processes need.
#include "libshared/confine/rows.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <cerrno>

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
};

constexpr Row k_channel[] = {
    allow("sendmsg", "packets, with descriptors"),
    allow("recvmsg", "packets, with descriptors"),
    allow("recvfrom", "looking at the length of a packet", {is_null(4)}),
    allow("sendto", "packets without descriptors, to the connected peer alone", {is_null(4)}),
    allow("shutdown", "the end of a connection"),
};

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

}  // namespace

std::span<const Row> runtime_rows() noexcept { return k_runtime; }
std::span<const Row> loop_rows() noexcept { return k_loop; }
std::span<const Row> channel_rows() noexcept { return k_channel; }
std::span<const Row> thread_rows() noexcept { return k_thread_start; }
std::span<const Row> confining_rows() noexcept { return k_confining; }

}  // namespace virtgate::confine
