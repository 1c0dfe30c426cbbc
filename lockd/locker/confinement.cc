// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the locker keeps.
#include "lockd/locker/confinement.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "libshared/confine/rows.h"
#include "libshared/fdmap.h"

namespace virtgate::lockd::locker {

namespace {

using confine::allow;
using confine::FdKind;
using confine::has_of;
using confine::is;
using confine::lacks;

constexpr int k_so_peerpidfd = 77;  // newer than the headers of the oldest system that we build on

constexpr std::uint64_t k_leased_size = 16;

constexpr confine::Row k_rows[] = {
    allow("accept4", "clients", {is(0, fdmap::k_locker_own_listener), is(3, SOCK_NONBLOCK | SOCK_CLOEXEC)}),
    allow("accept4", "clients that look for virtlockd",
          {is(0, fdmap::k_locker_libvirt_listener), is(3, SOCK_NONBLOCK | SOCK_CLOEXEC)}),
    allow("getsockopt", "who a client is", {is(1, SOL_SOCKET), is(2, SO_PEERCRED)}),
    allow("getsockopt", "its process", {is(1, SOL_SOCKET), is(2, k_so_peerpidfd)}),
    allow("pidfd_open", "its process, before Linux 6.5"),
    allow("pidfd_send_signal", "an owner that gave up its connection and lives on"),
    allow("poll", "whether a process has ended"),
    allow("ppoll", "the same, where there is no poll"),
    allow("openat", "a configured directory, not what is in it",
          {has_of(2, O_PATH | O_DIRECTORY | O_CREAT, O_PATH | O_DIRECTORY)}),
    allow("openat2", "lock files, beneath such a directory; its way of resolving is out of sight"),
    allow("fstat", "which file was opened"),
    allow("newfstatat", "fstat of the C library; whether a directory was replaced"),
    allow("fcntl", "locks of open files", {is(1, F_OFD_SETLK)}),
    allow("memfd_create", "what says by which lease a lock in etcd is held"),
    allow("fcntl", "nobody changes that any more", {is(1, F_ADD_SEALS)}),
    allow("pread64", "what a lock was held by that an earlier process took"),
    allow("mkdirat", "directories of lock spaces", {lacks(2, S_ISUID | S_ISGID | S_ISVTX)}),
    allow("unlinkat", "lock files that are not needed any more; no directory", {is(2, 0)}),
};

}  // namespace

confine::Plan make_plan(const proto::config::LockerConfig& config) {
    using confine::PathAccess;
    confine::Plan plan{
        .process = "locker",
        .descriptors = confine::child_descriptors(
            FdKind::channel, {{fdmap::k_locker_own_listener, {FdKind::null, FdKind::listener}},
                              {fdmap::k_locker_libvirt_listener, {FdKind::null, FdKind::listener}}}),
        // To end owners, and to lock files, of other users.
        .capabilities = {CAP_KILL, CAP_DAC_OVERRIDE},
        // A lock in etcd is kept by a memory file of this size.
        .limits = {.file_size = config.etcd.empty() ? 0 : k_leased_size},
        .rows = {confine::runtime_rows(), confine::loop_rows(), confine::channel_rows(),
                 confine::own_socket_rows(), k_rows},
        .stays = "it asks the kernel who its clients are"};
    plan.paths.signals = config.fencing;
    for (const std::string& directory : config.lock_spaces)
        plan.paths.add_if_there(directory, PathAccess::grow);
    for (const std::string& directory : config.direct) plan.paths.add_if_there(directory, PathAccess::create);
    return plan;
}

}  // namespace virtgate::lockd::locker
