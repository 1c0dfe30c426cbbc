// SPDX-License-Identifier: LGPL-2.1-or-later
// exceptions - where a process may do what others may not, and what still holds there.
#include <cerrno>

#include "tests/escape/attempts.h"

namespace virtgate::escape {

namespace {

// Whoever may connect at all cannot be kept from trying TCP by the filter, but by Landlock; a path that is not there is
// as far as the attempts with UNIX sockets come.
const Exception k_exceptions[] = {
    // doorman looks up local clients in /proc, where the files of others are closed; and connects to packet sockets.
    {"doorman", "open a file", {EACCES}, {EACCES}},
    {"doorman", "open /proc/1/environ", {EACCES}, {EACCES}},
    {"doorman", "connect to packets of UNIX", {ENOENT}, {ENOENT}},
    {"doorman", "connect", {EACCES}, {EACCES}},
    // libdbus wants a file when somebody on the bus asks for the machine's number, and lives without.
    {"announcer", "open a file", {EACCES}, {EACCES}},
    {"announcer", "make a file", {EACCES}, {EACCES}},
    {"announcer", "open /proc/self/mem", {EACCES}, {EACCES}},
    {"announcer", "open /proc/1/environ", {EACCES}, {EACCES}},
    // The auditor has one directory (none here), and the journal's datagrams.
    {"auditor", "open a file", {EACCES}, {EACCES}},
    {"auditor", "make a file", {EACCES}, {EACCES}},
    {"auditor", "open /proc/self/mem", {EACCES}, {EACCES}},
    {"auditor", "open /proc/1/environ", {EACCES}, {EACCES}},
    {"auditor", "connect to datagrams of UNIX", {ENOENT}, {ENOENT}},
    {"auditor", "connect", {EACCES}, {EACCES}},
    {"auditor", "memfd_create", k_allowed, k_allowed},
    // The compiler reads its directories and what name services read, which it may ask.
    {"policy compiler", "open a file", k_allowed, k_allowed},
    {"policy compiler", "openat2", k_killed, k_allowed},
    {"policy compiler", "open /proc/1/environ", {EACCES}, {EACCES}},
    {"policy compiler", "its own name", k_allowed, k_allowed},
    {"policy compiler", "connect to a stream of UNIX", {ENOENT}, {ENOENT}},
    {"policy compiler", "connect to packets of UNIX", {ENOENT}, {ENOENT}},
    {"policy compiler", "connect to datagrams of UNIX", {ENOENT}, {ENOENT}},
    {"policy compiler", "connect", {EACCES}, {EACCES}},
    {"policy compiler", "a file becomes memory", {ENODEV}, k_any},
    {"policy compiler", "a shared listener that blocks", k_any, k_any},
    // The store opens and removes files beneath configured directories (none here).
    {"store", "openat2", {EACCES}, {EACCES}},
    {"store", "unlink", {ENOENT}, k_any},
    // The locker opens and removes lock files beneath configured directories (none here); with locks in etcd it has memory
    // files.
    {"locker", "openat2", {EACCES}, {EACCES}},
    {"locker", "unlink", {ENOENT}, k_any},
    // It ends owners, which are its own user's.
    {"locker", "kill", k_killed, k_any},
    {"locker", "tgkill", k_killed, k_any},
    {"locker", "memfd_create", k_allowed, k_allowed},
    // sasl makes a process for each exchange.
    {"sasl", "fork", k_allowed, k_allowed},
    {"sasl", "clone3", {ENOSYS}, {EINVAL}},
    {"sasl", "dup2", k_allowed, k_any},
    {"exchange", "fork", k_killed, k_allowed},
    // Its libraries read /etc and what the configuration names, and ask for sockets, which they do not get.
    {"sasl", "open a file", k_allowed, k_allowed},
    {"sasl", "openat2", k_killed, k_allowed},
    {"sasl", "make a file", {EACCES}, {EACCES}},
    {"sasl", "open /proc/self/mem", {EACCES}, {EACCES}},
    {"sasl", "open /proc/1/environ", {EACCES}, {EACCES}},
    {"sasl", "socket of IPv4", {EACCES}, k_allowed},
    {"sasl", "socket of IPv6", {EACCES}, k_allowed},
    {"sasl", "socket of netlink", {EACCES}, k_allowed},
    {"sasl", "socket of packets", {EACCES}, {EPERM}},
    {"sasl", "socket of virtual machines", {EACCES}, k_any},
    {"sasl", "connect to a stream of UNIX", {EACCES}, {ENOENT}},
    {"sasl", "connect to packets of UNIX", {EACCES}, {ENOENT}},
    {"sasl", "connect to datagrams of UNIX", {EACCES}, {ENOENT}},
    {"sasl", "a file becomes memory", {ENODEV}, k_any},
    {"sasl", "a shared listener that blocks", k_any, k_any},
    {"exchange", "open a file", k_allowed, k_allowed},
    {"exchange", "openat2", k_killed, k_allowed},
    {"exchange", "make a file", {EACCES}, {EACCES}},
    {"exchange", "open /proc/self/mem", {EACCES}, {EACCES}},
    {"exchange", "open /proc/1/environ", {EACCES}, {EACCES}},
    {"exchange", "socket of IPv4", {EACCES}, k_allowed},
    {"exchange", "socket of IPv6", {EACCES}, k_allowed},
    {"exchange", "socket of netlink", {EACCES}, k_allowed},
    {"exchange", "socket of packets", {EACCES}, {EPERM}},
    {"exchange", "socket of virtual machines", {EACCES}, k_any},
    {"exchange", "connect to a stream of UNIX", {EACCES}, {ENOENT}},
    {"exchange", "connect to packets of UNIX", {EACCES}, {ENOENT}},
    {"exchange", "connect to datagrams of UNIX", {EACCES}, {ENOENT}},
    {"exchange", "a file becomes memory", {ENODEV}, k_any},
    {"exchange", "a shared listener that blocks", k_any, k_any},
    // They look whose a socket or a file is, and so stay in the namespaces and the directory of their parent.
    {"doorman", "execve", k_killed, {EACCES}},
    {"doorman", "whether a file is there", k_killed, k_allowed},
    {"doorman", "connect to a socket that listens", k_killed, k_allowed},
    {"doorman", "connect to an abstract socket that listens", k_killed, k_any},
    {"doorman", "datagrams to this machine", k_killed, k_allowed},
    {"doorman", "another process' shared memory", k_killed, k_allowed},
    {"doorman", "a new user namespace", k_killed, k_any},
    {"doorman", "setuid", k_killed, {EPERM}},
    {"doorman", "its own name", k_killed, k_allowed},
    {"store", "execve", k_killed, {EACCES}},
    {"store", "whether a file is there", k_killed, k_allowed},
    {"store", "connect to a socket that listens", k_killed, k_allowed},
    {"store", "connect to an abstract socket that listens", k_killed, k_any},
    {"store", "datagrams to this machine", k_killed, k_allowed},
    {"store", "another process' shared memory", k_killed, k_allowed},
    {"store", "a new user namespace", k_killed, k_any},
    {"store", "setuid", k_killed, {EPERM}},
    {"store", "its own name", k_killed, k_allowed},
    {"steward", "execve", k_killed, {EACCES}},
    {"steward", "whether a file is there", k_killed, k_allowed},
    {"steward", "connect to a socket that listens", k_killed, k_allowed},
    {"steward", "connect to an abstract socket that listens", k_killed, k_any},
    {"steward", "datagrams to this machine", k_killed, k_allowed},
    {"steward", "another process' shared memory", k_killed, k_allowed},
    {"steward", "a new user namespace", k_killed, k_any},
    {"steward", "setuid", k_killed, {EPERM}},
    {"steward", "its own name", k_killed, k_allowed},
    {"locker", "execve", k_killed, {EACCES}},
    {"locker", "whether a file is there", k_killed, k_allowed},
    {"locker", "connect to a socket that listens", k_killed, k_allowed},
    {"locker", "connect to an abstract socket that listens", k_killed, k_any},
    {"locker", "datagrams to this machine", k_killed, k_allowed},
    {"locker", "another process' shared memory", k_killed, k_allowed},
    {"locker", "a new user namespace", k_killed, k_any},
    {"locker", "setuid", k_killed, {EPERM}},
    {"locker", "its own name", k_killed, k_allowed},
    {"policy compiler", "execve", k_killed, {EACCES}},
    {"policy compiler", "whether a file is there", k_killed, k_allowed},
    {"policy compiler", "connect to a socket that listens", k_allowed, k_allowed},
    {"policy compiler", "connect to an abstract socket that listens", k_any, k_any},
    {"policy compiler", "datagrams to this machine", k_killed, k_allowed},
    {"policy compiler", "another process' shared memory", k_killed, k_allowed},
    {"policy compiler", "a new user namespace", k_killed, k_any},
    {"policy compiler", "setuid", k_killed, {EPERM}},
    // These leave them, but there are files that they name.
    {"auditor", "execve", k_killed, {EACCES}},
    {"auditor", "whether a file is there", k_killed, k_allowed},
    {"auditor", "connect to a socket that listens", k_killed, k_allowed},
    {"auditor", "a new user namespace", k_killed, k_any},
    {"auditor", "its own name", k_killed, k_allowed},
    {"sasl", "execve", k_killed, {EACCES}},
    {"sasl", "whether a file is there", k_allowed, k_allowed},
    {"sasl", "connect to a socket that listens", {EACCES}, k_allowed},
    {"sasl", "connect to an abstract socket that listens", {EACCES}, {ECONNREFUSED}},
    {"sasl", "datagrams to this machine", {EACCES}, {ENETUNREACH}},
    {"sasl", "a new user namespace", k_killed, k_any},
    {"sasl", "its own name", k_killed, k_allowed},
    {"exchange", "execve", k_killed, {EACCES}},
    {"exchange", "whether a file is there", k_allowed, k_allowed},
    {"exchange", "connect to a socket that listens", {EACCES}, k_allowed},
    {"exchange", "connect to an abstract socket that listens", {EACCES}, {ECONNREFUSED}},
    {"exchange", "datagrams to this machine", {EACCES}, {ENETUNREACH}},
    {"exchange", "a new user namespace", k_killed, k_any},
    {"exchange", "its own name", k_killed, k_allowed},
};

}  // namespace

std::span<const Exception> exceptions() noexcept { return k_exceptions; }

}  // namespace virtgate::escape
