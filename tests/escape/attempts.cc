// SPDX-License-Identifier: LGPL-2.1-or-later
// attempts - what somebody does who has taken over a process, one system call each.
#include "tests/escape/attempts.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <linux/perf_event.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <ctime>

namespace virtgate::escape {

namespace {

using confine::Layer;

// Descriptors that the rig has opened: a TCP socket that is not connected, one that listens, one end of a pair, and the
// directory "/", which leads past an empty root directory.
constexpr int k_tcp = 100, k_listener = 101, k_pair = 102, k_top = 105;

long connect_to(std::string_view path, int type) {
    const int fd = static_cast<int>(syscall(SYS_socket, AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd < 0) return fd;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return syscall(SYS_connect, fd, &address, address_size(path));
}

long bind_or_connect(long number) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(9);
    return syscall(number, k_tcp, &address, sizeof address);
}

// A network is there if it can be said by which way a datagram would go.
long find_way_to_this_machine() {
    const int fd = static_cast<int>(syscall(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (fd < 0) return fd;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(9);
    return syscall(SYS_connect, fd, &address, sizeof address);
}

long map(int protection, int flags, int fd = -1) {
    const long at = syscall(SYS_mmap, nullptr, 4096, protection, flags, fd, 0);
    return at > 0 ? 0 : at;
}

long write_then_execute() {
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return syscall(SYS_mprotect, page, 4096, PROT_READ | PROT_EXEC);
}

long open_file(const char* path, int flags) { return syscall(SYS_openat, k_top, path, flags, 0600); }

long unmap_own_code() {
    const auto page = reinterpret_cast<std::uintptr_t>(&unmap_own_code) & ~std::uintptr_t{4095};
    return syscall(SYS_mprotect, page, 4096, PROT_READ);
}

long raise_limit() {
    rlimit limit{RLIM_INFINITY, RLIM_INFINITY};
    return syscall(SYS_prlimit64, 0, RLIMIT_CORE, &limit, nullptr);
}

long attach_filter() {
    sock_filter rows[] = {{BPF_RET | BPF_K, 0, 0, 0}};
    sock_fprog program{1, rows};
    return syscall(SYS_setsockopt, k_pair, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

long send_to_address() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(9);
    return syscall(SYS_sendto, k_tcp, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL, &address, sizeof address);
}

long read_parent() {
    char byte = 0;
    iovec here{&byte, 1}, there{&byte, 1};
    return syscall(SYS_process_vm_readv, getppid(), &here, 1, &there, 1, 0);
}

long take_parents_descriptor() {
    const int parent = static_cast<int>(syscall(SYS_pidfd_open, getppid(), 0));
    return parent < 0 ? parent : syscall(SYS_pidfd_getfd, parent, 0, 0);
}

long use_bpf() {
    bpf_attr attributes{};
    attributes.map_type = BPF_MAP_TYPE_ARRAY;
    attributes.key_size = attributes.value_size = 4;
    attributes.max_entries = 1;
    return syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
}

long watch_kernel() {
    perf_event_attr attributes{};
    attributes.size = sizeof attributes;
    attributes.type = PERF_TYPE_SOFTWARE;
    attributes.config = PERF_COUNT_SW_CPU_CLOCK;
    return syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
}

long use_io_uring() {
    io_uring_params parameters{};
    return syscall(SYS_io_uring_setup, 1, &parameters);
}

long open_again() {
    open_how how{};
    how.flags = O_RDONLY;
    return syscall(SYS_openat2, k_top, "etc/passwd", &how, sizeof how);
}

long set_clock() {
    const timespec now{1, 0};
    return syscall(SYS_clock_settime, CLOCK_REALTIME, &now);
}

long make_timer() {
    timer_t timer{};
    sigevent event{};
    event.sigev_notify = SIGEV_NONE;
    return syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer);
}

long new_process(unsigned long flags) { return syscall(SYS_clone, flags, nullptr, nullptr, nullptr, 0); }

// The child of a fork that succeeds has to end.
long fork_now() {
    const long pid = new_process(SIGCHLD);
    if (pid == 0) _exit(0);
    return pid;
}

#ifdef __x86_64__
long call_i386() {
    long result = 20;  // getpid there
    asm volatile("int $0x80" : "+a"(result) : : "memory");
    return result;
}
long call_x32() { return syscall(0x40000000 + SYS_getpid); }
#endif

constexpr int k_accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;

const Attempt k_attempts[] = {
    {"open a file", [] { return open_file("etc/passwd", O_RDONLY); }, k_killed, {EACCES}, Layer::files},
    {"make a file",
     [] { return open_file("tmp/virtgate-escape", O_CREAT | O_WRONLY); },
     k_killed,
     {EACCES},
     Layer::files},
    {"openat2", open_again, k_killed, {EACCES}, Layer::files},
    {"open /proc/self/mem",
     [] { return open_file("proc/self/mem", O_RDWR); },
     k_killed,
     {EACCES},
     Layer::files},
    {"open /proc/1/environ",
     [] { return open_file("proc/1/environ", O_RDONLY); },
     k_killed,
     {EACCES},
     Layer::files},
    {"execveat",
     [] { return syscall(SYS_execveat, k_top, "bin/true", nullptr, nullptr, 0); },
     k_killed,
     {EACCES},
     Layer::files},
    {"execve", [] { return syscall(SYS_execve, "/bin/true", nullptr, nullptr); }, k_killed, k_nothing_there,
     Layer::namespaces},
    {"whether a file is there", [] { return syscall(SYS_faccessat, AT_FDCWD, "/etc/passwd", F_OK); },
     k_killed, k_nothing_there, Layer::namespaces},
    {"fork", fork_now, k_killed, {EAGAIN}, Layer::limits},
    {"clone3", [] { return syscall(SYS_clone3, nullptr, 0); }, k_killed, {EINVAL}},
    {"socket of IPv4", [] { return syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); }, k_killed, k_allowed},
    {"socket of IPv6", [] { return syscall(SYS_socket, AF_INET6, SOCK_DGRAM, 0); }, k_killed, k_allowed},
    {"socket of netlink", [] { return syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0); }, k_killed, k_allowed},
    {"socket of packets",
     [] { return syscall(SYS_socket, AF_PACKET, SOCK_RAW, 0); },
     k_killed,
     {EPERM},
     Layer::capabilities},
    {"socket of virtual machines", [] { return syscall(SYS_socket, AF_VSOCK, SOCK_STREAM, 0); }, k_killed,
     k_any},
    {"connect to a stream of UNIX", [] { return connect_to("/nonexistent", SOCK_STREAM); }, k_killed,
     k_nothing_there},
    {"connect to packets of UNIX", [] { return connect_to("/nonexistent", SOCK_SEQPACKET); }, k_killed,
     k_nothing_there},
    {"connect to datagrams of UNIX", [] { return connect_to("/nonexistent", SOCK_DGRAM); }, k_killed,
     k_nothing_there},
    {"connect to a socket that listens", [] { return connect_to(outside().socket, SOCK_STREAM); }, k_killed,
     k_nothing_there, Layer::namespaces},
    {"connect to an abstract socket that listens",
     [] {
         return connect_to({outside().abstract, std::strlen(outside().abstract + 1) + 1}, SOCK_STREAM);
     },
     k_killed,
     {ECONNREFUSED},
     Layer::namespaces},
    {"datagrams to this machine", find_way_to_this_machine, k_killed, {ENETUNREACH}, Layer::namespaces},
    {"another process' shared memory",
     [] { return syscall(SYS_shmget, outside().key, 1, 0); },
     k_killed,
     {ENOENT},
     Layer::namespaces},
    {"socketpair",
     [] {
         int ends[2];
         return syscall(SYS_socketpair, AF_UNIX, SOCK_DGRAM, 0, ends);
     },
     k_killed, k_allowed},
    {"bind", [] { return bind_or_connect(SYS_bind); }, k_killed, {EACCES}, Layer::tcp},
    {"connect", [] { return bind_or_connect(SYS_connect); }, k_killed, {EACCES}, Layer::tcp},
    {"listen", [] { return syscall(SYS_listen, k_tcp, 1); }, k_killed, k_any},
    {"ptrace",
     [] { return syscall(SYS_ptrace, PTRACE_ATTACH, getppid(), nullptr, nullptr); },
     k_killed,
     {EPERM}},
    {"read another process' memory", read_parent, k_killed, {EPERM}},
    {"take another process' descriptor", take_parents_descriptor, k_killed, {EPERM}},
    {"kill", [] { return syscall(SYS_kill, getppid(), 0); }, k_killed, {EPERM}, Layer::scope},
    {"tgkill",
     [] { return syscall(SYS_tgkill, getppid(), getppid(), 0); },
     k_killed,
     {EPERM},
     Layer::scope},
    {"kill everybody", [] { return syscall(SYS_kill, -1, SIGCONT); }, k_killed, k_any},
    {"memory that is written and executed",
     [] { return map(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS); },
     k_killed,
     {EACCES},
     Layer::writable_code},
    {"memory that was written becomes code", write_then_execute, k_killed, {EACCES}, Layer::writable_code},
    {"code is given other rights", unmap_own_code, {EPERM}, {EPERM}, Layer::sealed_memory},
    {"a file becomes memory", [] { return map(PROT_READ, MAP_PRIVATE, 0); }, k_killed, k_any},
    {"io_uring", use_io_uring, k_killed, k_any},
    {"userfaultfd", [] { return syscall(SYS_userfaultfd, O_CLOEXEC | 1); }, k_killed, k_any},
    {"memfd_create", [] { return syscall(SYS_memfd_create, "x", 0); }, k_killed, k_allowed},
    {"keyctl", [] { return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1); },
     k_killed, k_any},
    {"add_key", [] { return syscall(SYS_add_key, "user", "x", "x", 1, KEY_SPEC_PROCESS_KEYRING); }, k_killed,
     k_any},
    {"personality", [] { return syscall(SYS_personality, ADDR_NO_RANDOMIZE); }, k_killed, k_allowed},
    {"a new user namespace",
     [] { return syscall(SYS_unshare, CLONE_NEWUSER); },
     k_killed,
     {EPERM},
     Layer::namespaces},
    {"a new user namespace by clone", [] { return new_process(CLONE_NEWUSER | SIGCHLD); }, k_killed, k_any},
    {"setns", [] { return syscall(SYS_setns, 0, CLONE_NEWNET); }, k_killed, k_any},
    {"bpf", use_bpf, k_killed, {EPERM}, Layer::capabilities},
    {"perf_event_open", watch_kernel, k_killed, k_any},
    {"mount", [] { return syscall(SYS_fsopen, "tmpfs", 0); }, k_killed, {EPERM}, Layer::capabilities},
    {"chroot",
     [] { return syscall(SYS_fchdir, k_top) < 0 ? -1L : syscall(SYS_chroot, "."); },
     k_killed,
     {EPERM},
     Layer::capabilities},
    {"kernel log", [] { return syscall(SYS_syslog, 10, nullptr, 0); }, k_killed, k_any},
    {"a limit goes up", raise_limit, k_killed, {EPERM}, Layer::limits},
    {"the clock", set_clock, k_killed, {EPERM}, Layer::capabilities},
    {"a module", [] { return syscall(SYS_init_module, nullptr, 0, ""); }, k_killed, k_any},
    {"reboot", [] { return syscall(SYS_reboot, 0, 0, 0, nullptr); }, k_killed, {EPERM}, Layer::capabilities},
    {"setuid", [] { return syscall(SYS_setuid, 0); }, k_killed, {EINVAL}, Layer::namespaces},
    {"memory open to others", [] { return syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); }, k_killed,
     k_allowed},
    {"another filter", [] { return syscall(SYS_prctl, PR_SET_SECCOMP, 1, 0, 0, 0); }, k_killed, k_any},
    {"dup2", [] { return syscall(SYS_dup3, k_pair, 90, 0); }, k_killed, k_any},
    {"signals of a descriptor", [] { return syscall(SYS_fcntl, k_pair, F_SETOWN, getppid()); }, k_killed,
     k_any},
    {"a descriptor sends signals", [] { return syscall(SYS_fcntl, k_pair, F_SETFL, O_ASYNC); }, k_killed,
     k_allowed},
    {"timer_create", make_timer, k_killed, k_allowed},
    {"its own name",
     [] {
         char name[64];
         return syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", name, sizeof name);
     },
     k_killed, k_nothing_there, Layer::namespaces},
    {"chdir", [] { return syscall(SYS_chdir, "/"); }, k_killed, k_any},
    {"unlink", [] { return syscall(SYS_unlinkat, AT_FDCWD, "/tmp/virtgate-escape-none", 0); }, k_killed,
     k_any},
    {"a file that gives its owner's rights", [] { return syscall(SYS_fchmod, k_pair, 04711); }, k_killed,
     k_any},
    {"a directory that gives its group", [] { return syscall(SYS_mkdirat, k_top, "tmp/x/y", 02711); },
     k_killed, k_any},
    {"the end of a shared listener", [] { return syscall(SYS_shutdown, 5, SHUT_RDWR); }, k_killed, k_any},
    {"a shared listener that blocks", [] { return syscall(SYS_fcntl, 5, F_SETFL, 0); }, k_killed, k_any},
    {"a copy of a shared listener", [] { return syscall(SYS_fcntl, 5, F_DUPFD_CLOEXEC, 90); }, k_killed,
     k_any},
    {"accept4 on another descriptor",
     [] { return syscall(SYS_accept4, k_listener, nullptr, nullptr, k_accept_flags); },
     k_killed,
     {EAGAIN}},
    {"accept4 without flags", [] { return syscall(SYS_accept4, 5, nullptr, nullptr, 0); }, k_killed, k_any},
    {"sendto with an address", send_to_address, k_killed, k_any},
    {"typing into a terminal", [] { return syscall(SYS_ioctl, k_pair, TIOCSTI, "x"); }, k_killed, {ENOTTY}},
    {"a filter on a socket", attach_filter, k_killed, k_allowed},
#ifdef __x86_64__
    {"i386 calls", call_i386, k_killed, k_any},
    {"x32 calls", call_x32, k_killed, k_any},
#endif
    // What has to work, or the others prove nothing.
    {"control: read",
     [] {
         char byte;
         return syscall(SYS_recvfrom, k_pair, &byte, 1, MSG_DONTWAIT, nullptr, nullptr);
     },
     {EAGAIN},
     {EAGAIN}},
    {"control: memory", [] { return map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS); }, k_allowed,
     k_allowed},
    {"control: flags",
     [] {
         const long flags = syscall(SYS_fcntl, k_pair, F_GETFL);
         return flags > 0 ? 0L : flags;
     },
     k_allowed, k_allowed},
};

}  // namespace

Outside& outside() noexcept {
    static Outside all = [] {
        Outside made{};
        const int pid = getpid();
        std::snprintf(made.socket, sizeof made.socket, "/tmp/vgt-escape-%d", pid);
        std::snprintf(made.abstract + 1, sizeof made.abstract - 1, "vgt-escape-%d", pid);
        made.key = 0x76670000 + pid;
        return made;
    }();
    return all;
}

unsigned address_size(std::string_view path) noexcept {
    return static_cast<unsigned>(offsetof(sockaddr_un, sun_path) + path.size() +
                                 (path.front() == '\0' ? 0 : 1));
}

std::span<const Attempt> attempts() noexcept { return k_attempts; }

}  // namespace virtgate::escape
