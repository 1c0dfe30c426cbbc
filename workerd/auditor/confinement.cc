// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the auditor keeps: its channels, the journal's socket, the directory of its file.
#include "workerd/auditor/confinement.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "libshared/confine/rows.h"
#include "libshared/fdmap.h"

namespace virtgate::workerd::auditor {

namespace {

using confine::allow;
using confine::has_of;
using confine::is;

constexpr confine::Row k_rows[] = {
    allow("openat", "the file, anew; whether it was renamed"),
    allow("pread64", "whether the file ends with a whole line, where it is opened anew"),
    allow("newfstatat", "whether the file was renamed"),
    allow("fstat", "whether the file was renamed"),
    allow("socket", "the journal, anew; datagrams only",
          {is(0, AF_UNIX), is(1, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC), is(2, 0)}),
    allow("connect", "the journal"),
    allow("ioctl", "how much a channel holds", {is(1, FIONREAD)}),
    allow("memfd_create", "a record that is longer than a datagram"),
    allow("fcntl", "its seals", {is(1, F_ADD_SEALS)}),
    allow("fcntl", "whether the file's flags are ours", {is(1, F_GETFL)}),
};

}  // namespace

confine::Plan make_plan(const std::string& file) {
    using confine::FdKind;
    // The file and the journal's socket have whatever numbers.
    confine::Plan plan{
        .process = "auditor",
        .descriptors = confine::child_descriptors(
            FdKind::channel, {{confine::MeantFd::k_any_number, {FdKind::file, FdKind::datagrams}}}),
        .limits = {.file_size = {}},
        .rows = {confine::runtime_rows(), confine::loop_rows(), confine::channel_rows(),
                 confine::own_socket_rows(), k_rows},
        .connects = true};
    // A directory that is not there, or came later, is one that the auditor cannot write in: it says so, and goes on.
    plan.paths.add_parents_of(file, confine::PathAccess::create);
    return plan;
}

}  // namespace virtgate::workerd::auditor
