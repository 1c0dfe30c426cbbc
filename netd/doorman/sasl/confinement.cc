// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what virtgate-sasl keeps: the user database, the keytab, what Kerberos reads; and its children less.
#include "netd/doorman/sasl/confinement.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <csignal>

#include "libshared/confine/rows.h"
#include "libshared/fdmap.h"

namespace virtgate::netd::doorman::sasl {

namespace {

using confine::allow;
using confine::has_of;
using confine::is;
using confine::PathAccess;
using confine::refuse;

// A process of its own, not a thread, and in no new namespace.
constexpr unsigned long k_fork_mask = CLONE_VM | CLONE_THREAD | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS |
                                      CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |
                                      CLONE_PTRACE | CLONE_VFORK;

constexpr confine::Row k_fork_rows[] = {
    refuse("clone3", ENOSYS, "its flags are out of sight; the C library then takes clone"),
    allow("clone", "a process for each exchange", {has_of(0, k_fork_mask, 0)}),
    allow("wait4", "exchanges that have ended"),
    allow("getppid", "whether the parent is still there"),
    allow("prctl", "the end with the parent", {is(0, PR_SET_PDEATHSIG), is(1, SIGKILL)}),
    allow("prctl", "the name of a process", {is(0, PR_SET_NAME)}),
    allow("set_robust_list", "the first call of a forked process"),
    allow("dup2", "the channel of an exchange gets its number"),
    allow("dup3", "the same, where there is no dup2"),
    allow("close_range", "what the exchange does not need"),
    allow("rt_sigaction", "signals of a forked process"),
    allow("getpid", "who the parent of an exchange is"),
    allow("seccomp", "the filter of an exchange"),
    allow("prctl", "that filter looks whether it may", {is(0, PR_GET_NO_NEW_PRIVS)}),
};

// What libsasl2, libdb and libkrb5 do whenever they like. Landlock says which files.
constexpr confine::Row k_library_rows[] = {
    allow("alarm", "an end to what a library waits for"),
    allow("setitimer", "the same, where there is no alarm"),
    allow("poll", "the channel of an exchange, a security layer"),
    allow("ppoll", "the same, where there is no poll"),
    allow("openat", "the user database, keytabs, krb5.conf, plugins"),
    allow("access", "whether a file is there"),
    allow("faccessat", "the same"),
    allow("faccessat2", "the same"),
    allow("newfstatat", "files"),
    allow("fstat", "files"),
    allow("statfs", "files"),
    allow("lseek", "files"),
    allow("pread64", "files"),
    allow("getdents64", "directories of plugins and of krb5.conf.d"),
    allow("readlink", "names of files"),
    allow("mmap", "files that libraries map; no code", {confine::lacks(2, PROT_EXEC)}),
    allow("fcntl", "flags of descriptors", {is(1, F_GETFD)}),
    allow("fcntl", "flags of descriptors", {is(1, F_SETFD)}),
    allow("fcntl", "flags of descriptors", {is(1, F_GETFL)}),
    allow("fcntl", "flags of descriptors", {is(1, F_SETFL), confine::lacks(2, O_ASYNC)}),
    allow("fcntl", "locks of keytabs and databases", {is(1, F_SETLK)}),
    allow("fcntl", "locks of keytabs and databases", {is(1, F_SETLKW)}),
    allow("fcntl", "locks of keytabs and databases", {is(1, F_OFD_SETLKW)}),
    allow("fcntl", "locks of keytabs and databases", {is(1, F_OFD_SETLK)}),
    allow("getuid", "Kerberos, libsasl2"),
    allow("geteuid", "Kerberos, libsasl2"),
    allow("getgid", "libsasl2"),
    allow("getegid", "libsasl2"),
    allow("getpid", "random numbers of libsasl2"),
    allow("gettid", "libkrb5"),
    allow("uname", "the machine's name"),
    allow("sysinfo", "libdb looks how much memory there is"),
    allow("sched_getaffinity", "libdb counts the processors"),
    refuse("socket", EACCES, "name services; they are not needed where a name has been found at the start"),
};

// What an exchange has of its own.
constexpr confine::Row k_exchange_rows[] = {
    allow("socketpair", "the clear side of a security layer",
          {is(0, AF_UNIX), is(1, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)}),
    allow("rt_sigaction", "the alarm"),
    allow("shutdown", "one direction of a security layer ends; there are no listeners here",
          {is(1, SHUT_WR)}),
};

// Configurations and plugins; random numbers; how many processors there are; where SSSD tells Kerberos of its servers.
constexpr const char* k_library_files[] = {"/etc",
                                           "/usr/lib",
                                           "/lib",
                                           "/lib64",
                                           "/usr/share",
                                           "/usr/local/lib",
                                           "/dev/urandom",
                                           "/dev/random",
                                           "/sys/devices/system/cpu",
                                           "/proc/sys/crypto",
                                           "/var/lib/sss/pubconf"};

}  // namespace

confine::Plan make_plan(const proto::config::SaslConfig& config) {
    using confine::FdKind;
    // Libraries keep files open, with whatever numbers.
    confine::Plan plan{.process = "sasl",
                       .descriptors = confine::child_descriptors(
                           FdKind::channel, {{confine::MeantFd::k_any_number, {FdKind::file}}}),
                       .limits = {.processes = {}, .file_size = {}},
                       .rows = {confine::runtime_rows(), confine::loop_rows(), confine::channel_rows(),
                                confine::own_socket_rows(), k_fork_rows, k_library_rows, k_exchange_rows}};
    for (const char* path : k_library_files) plan.paths.add_if_there(path, PathAccess::read);
    for (const std::string& file : {config.users, config.sasldb, config.keytab})
        plan.paths.add_parents_of(file, PathAccess::read);
    return plan;
}

std::vector<std::span<const confine::Row>> exchange_rows() {
    return {confine::runtime_rows(), confine::channel_rows(), confine::own_socket_rows(), k_library_rows,
            k_exchange_rows};
}

}  // namespace virtgate::netd::doorman::sasl
