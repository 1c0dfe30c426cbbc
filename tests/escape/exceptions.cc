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
};

}  // namespace

std::span<const Exception> exceptions() noexcept { return k_exceptions; }

}  // namespace virtgate::escape
