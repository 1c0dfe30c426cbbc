// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the store keeps: its directories, its connections, threads that are there already.
#include "workerd/store/confinement.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "libshared/confine/rows.h"
#include "libshared/fdmap.h"

namespace virtgate::workerd::store {

namespace {

using confine::allow;
using confine::FdKind;
using confine::has_of;
using confine::is;
using confine::lacks;

constexpr std::uint64_t k_special_mode = S_ISUID | S_ISGID | S_ISVTX;

constexpr confine::Row k_rows[] = {
    allow("getsockopt", "a connection of the broker's is a socket", {is(1, SOL_SOCKET), is(2, SO_PEERCRED)}),
    allow("openat2", "directories and files of pools; its way of resolving is out of sight"),
    allow("openat", "a directory anew, to list it", {has_of(2, O_DIRECTORY | O_CREAT, O_DIRECTORY)}),
    allow("getdents64", "what is in a pool"),
    allow("fcntl", "the same: the C library marks its directory", {is(1, F_SETFD), is(2, FD_CLOEXEC)}),
    allow("fstat", "what a file is"),
    allow("newfstatat", "fstat of the C library; a file that may not be read"),
    allow("fstatfs", "the space of a pool"),
    allow("lseek", "where data and holes are; the start of a list"),
    allow("pread64", "content of volumes; what /proc says now"),
    allow("preadv2", "content of volumes that is in memory", {is(5, RWF_NOWAIT)}),
    allow("pwrite64", "content of volumes"),
    allow("sync_file_range", "what was written sets out for the disk", {is(3, SYNC_FILE_RANGE_WRITE)}),
    allow("sync_file_range2", "the same, where the kernel has it by that name",
          {is(1, SYNC_FILE_RANGE_WRITE)}),
    allow("ftruncate", "the end of a file"),
    allow("fallocate", "room on the disk", {is(1, 0)}),
    allow("fallocate", "a hole", {is(1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)}),
    allow("fsync", "what is finished is on the disk"),
    allow("fchmod", "the mode of a volume, which gives nobody the rights of its owner",
          {lacks(1, k_special_mode)}),
    allow("mkdirat", "the directory of a pool", {lacks(2, k_special_mode)}),
    allow("unlinkat", "volumes, the directory of a pool"),
    allow("renameat", "what is finished gets its name"),
    allow("renameat2", "the same, where nobody may have it"),
};

}  // namespace

confine::Plan make_plan(const proto::config::StoreConfig& config) {
    using confine::PathAccess;
    confine::Plan plan{
        .process = "store",
        // /proc/stat and /proc/meminfo; the directories of pools and the state directory.
        .descriptors = confine::child_descriptors(
            FdKind::channel, {{confine::MeantFd::k_any_number, {FdKind::file, FdKind::directory}}}),
        .limits = {.file_size = {}},
        .rows = {confine::runtime_rows(), confine::loop_rows(), confine::channel_rows(),
                 confine::own_socket_rows(), k_rows},
        .stays = "it tells whose volumes are"};
    for (const std::string& directory : config.directories)
        plan.paths.add_if_there(directory, PathAccess::grow);
    if (!config.state_directory.empty()) plan.paths.add_if_there(config.state_directory, PathAccess::create);
    return plan;
}

}  // namespace virtgate::workerd::store
