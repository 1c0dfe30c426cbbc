// SPDX-License-Identifier: LGPL-2.1-or-later
// supervisor - what a process keeps that starts others of our programs.
#include "libshared/confine/supervisor.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "libshared/confine/memory.h"

namespace virtgate::confine {

namespace {

constexpr unsigned long k_namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                       CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE;

constexpr Row k_arguments[] = {
    refuse("clone3", ENOSYS, "its flags are out of sight; the C library then takes clone"),
    allow("clone", "children and their threads; in no new namespace", {lacks(0, k_namespaces)}),
    allow("socket", "channels, the service manager, the journal, name services", {is(0, AF_UNIX)}),
    allow("prctl", "a child ends with its parent", {is(0, PR_SET_PDEATHSIG)}),
    allow("prctl", "names of processes and threads", {is(0, PR_SET_NAME)}),
    allow("prctl", "a child gives up new privileges", {is(0, PR_SET_NO_NEW_PRIVS)}),
    allow("prctl", "reading that back", {is(0, PR_GET_NO_NEW_PRIVS)}),
    allow("prctl", "a child closes its memory to others; nobody opens it",
          {is(0, PR_SET_DUMPABLE), is_null(1)}),
    allow("prctl", "reading that back", {is(0, PR_GET_DUMPABLE)}),
    allow("prctl", "a child gives up writable code", {is(0, k_set_mdwe)}),
    allow("prctl", "reading that back", {is(0, k_get_mdwe)}),
    allow("prctl", "root's children lose the bounding set", {is(0, PR_CAPBSET_DROP)}),
    allow("prctl", "reading that back", {is(0, PR_CAPBSET_READ)}),
    allow("prctl", "they lose what root means to exec", {is(0, PR_SET_SECUREBITS)}),
    allow("prctl", "reading that back", {is(0, PR_GET_SECUREBITS)}),
    allow("prctl", "they lose ambient capabilities", {is(0, PR_CAP_AMBIENT)}),
};

// Rows without conditions, by what they are for.
std::vector<Row> make_rows() {
    std::vector<Row> rows(std::begin(k_arguments), std::end(k_arguments));
    const auto keep = [&](const char* reason, std::initializer_list<const char*> calls) {
        for (const char* call : calls) rows.push_back(allow(call, reason));
    };
    keep("reading files: configurations, policies, certificates, libraries",
         {"openat",  "openat2",   "read",       "readv",      "pread64", "close", "lseek",
          "access",  "faccessat", "faccessat2", "newfstatat", "fstat",   "statx", "statfs",
          "fstatfs", "readlink",  "readlinkat", "getdents64", "getcwd",  "fcntl"});
    keep("writing files: log lines, records, what a child is configured with",
         {"write", "writev", "pwrite64", "memfd_create", "ftruncate", "fsync", "fdatasync", "ioctl"});
    keep("names of sockets and files: made, with their owner and mode, replaced, removed",
         {"unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "chmod", "fchmod",
          "fchmodat", "chown", "fchown", "fchownat", "umask"});
    keep("waiting: loops, questions with a deadline, changes of files",
         {"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2",
          "timerfd_create", "timerfd_settime", "poll", "ppoll", "select", "pselect6", "inotify_init1",
          "inotify_add_watch", "inotify_rm_watch", "alarm", "setitimer", "nanosleep", "clock_nanosleep"});
    keep("sockets: channels, listeners, the service manager, libvirt's daemons",
         {"socketpair", "connect", "accept4", "bind", "listen", "getsockname", "getpeername", "getsockopt",
          "setsockopt", "sendmsg", "sendto", "recvmsg", "recvfrom", "shutdown"});
    keep("memory, code of libraries among it: a child gives up making more of that",
         {"brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "mlockall", "mseal"});
    keep("a child's beginning: its descriptors, its own session, the loader",
         {"fork", "vfork", "execve", "pipe2", "dup", "dup2", "dup3", "close_range", "setsid", "arch_prctl",
          "set_tid_address", "set_robust_list", "rseq", "sigaltstack", "setpriority", "getpriority"});
    keep("a child's end, and signals",
         {"wait4", "waitid", "kill", "tgkill", "pidfd_open", "pidfd_send_signal", "rt_sigaction",
          "rt_sigprocmask", "rt_sigreturn", "exit", "exit_group", "restart_syscall"});
    keep("threads, the time, random numbers, what machine this is",
         {"futex", "sched_yield", "sched_getaffinity", "clock_gettime", "clock_getres", "gettimeofday",
          "time", "getrandom", "uname", "sysinfo"});
    keep("who a process is, and a child's becoming somebody else",
         {"getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getgroups", "getresuid",
          "getresgid", "setgroups", "setresuid", "setresgid"});
    keep("what a child gives up",
         {"capget", "capset", "seccomp", "landlock_create_ruleset", "landlock_add_rule",
          "landlock_restrict_self", "prlimit64", "getrlimit", "setrlimit"});
    return rows;
}

constexpr Row k_resolver[] = {
    allow("socket", "a child asks for its host's name", {is(0, AF_INET)}),
    allow("socket", "a child asks for its host's name", {is(0, AF_INET6)}),
    allow("socket", "the C library looks for the addresses of this machine; nothing else of the kernel's",
          {is(0, AF_NETLINK), is(2, NETLINK_ROUTE)}),
};

constexpr Row k_leavers[] = {
    allow("unshare", "a child leaves its parent's namespaces, all of these at once",
          {is(0, CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)}),
    allow("chroot", "its second process, which has a capability for it where it is; the parent has none"),
    allow("chdir", "the same"),
};

constexpr const char* k_libraries[] = {"/lib",       "/lib64",         "/usr/lib",
                                       "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"};

// The service manager's socket may be abstract: sd_notify(3).
bool notifies_abstract_socket() noexcept {
    const char* name = std::getenv("NOTIFY_SOCKET");
    return name != nullptr && *name == '@';
}

}  // namespace

std::span<const Row> supervisor_rows() {
    static const std::vector<Row> rows = make_rows();
    return rows;
}

std::span<const Row> resolver_rows() noexcept { return k_resolver; }

void let_leave(Plan& plan) {
    plan.starts_leavers = true;
    plan.rows.emplace_back(k_leavers);
}

Plan make_supervisor_plan(std::string_view process, const std::string& programs) {
    Plan plan{.process = process,
              .capabilities = {CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_KILL},
              .limits = {.processes = {}, .file_size = {}, .locked_memory = {}},
              .rows = {supervisor_rows()},
              .says_lacks = true,
              .stays = "it starts others"};
    plan.paths.abstract_sockets = notifies_abstract_socket();
    plan.paths.add_if_there(programs, PathAccess::execute);
    for (const char* libraries : k_libraries) plan.paths.add_if_there(libraries, PathAccess::execute);
    plan.paths.add_if_there("/dev/null", PathAccess::write);
    return plan;
}

}  // namespace virtgate::confine
