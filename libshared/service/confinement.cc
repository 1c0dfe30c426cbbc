// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what a program of others keeps.
#include "libshared/service/confinement.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "libshared/confine/rows.h"

namespace virtgate::service {

namespace {

using confine::allow;
using confine::FdKind;
using confine::is;
using confine::lacks;

constexpr std::uint64_t k_special_mode = S_ISUID | S_ISGID | S_ISVTX;

constexpr confine::Row k_rows[] = {
    allow("getsockopt", "a connection of the broker's is a socket", {is(1, SOL_SOCKET), is(2, SO_PEERCRED)}),
    allow("clock_nanosleep", "handlers that wait"),
};

// Where it has directories. Landlock keeps it there.
constexpr confine::Row k_of_files[] = {
    allow("openat", "files of its directories"),
    allow("getdents64", "what is in them"),
    allow("newfstatat", "what a file is"),
    allow("fstat", "what a file is"),
    allow("statx", "what a file is"),
    allow("lseek", "places in files"),
    allow("readv", "streams of the C++ library"),
    allow("pread64", "content of files"),
    allow("pwrite64", "content of files"),
    allow("ftruncate", "the end of a file"),
    allow("fsync", "what is finished is on the disk"),
    allow("fdatasync", "what is finished is on the disk"),
    allow("fcntl", "locks of files", {is(1, F_SETLK)}),
    allow("fcntl", "locks of files", {is(1, F_GETLK)}),
    allow("fcntl", "a descriptor that is for no child", {is(1, F_SETFD), is(2, FD_CLOEXEC)}),
    allow("fcntl", "what a descriptor is open for", {is(1, F_GETFL)}),
    allow("mkdirat", "directories", {lacks(2, k_special_mode)}),
    allow("mkdir", "directories", {lacks(1, k_special_mode)}),
    allow("unlink", "files that are not needed any more"),
    allow("unlinkat", "files that are not needed any more"),
    allow("rename", "what is finished gets its name"),
    allow("renameat", "what is finished gets its name"),
    allow("renameat2", "what is finished gets its name"),
};

}  // namespace

confine::Plan make_plan(const proto::config::ServiceConfig& config, std::span<const confine::Row> calls) {
    confine::Plan plan{
        .process = "program",
        // What its setting up has opened beneath its directories.
        .descriptors = confine::child_descriptors(
            FdKind::channel, {{confine::MeantFd::k_any_number, {FdKind::file, FdKind::directory}}}),
        .rows = {confine::runtime_rows(), confine::loop_rows(), confine::channel_rows(),
                 confine::own_socket_rows(), k_rows, calls},
        .stays = config.directories.empty() ? "" : "it owns files"};
    if (config.directories.empty()) return plan;
    plan.limits.file_size = {};
    plan.rows.push_back(k_of_files);
    for (const std::string& directory : config.directories)
        plan.paths.add_if_there(directory, confine::PathAccess::grow);
    return plan;
}

}  // namespace virtgate::service
