// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what a worker keeps: its channels, and connections that the broker made.
#include "workerd/worker/confinement.h"

#include <sys/socket.h>

#include "libshared/confine/rows.h"

namespace virtgate::workerd::worker {

namespace {

using confine::allow;
using confine::is;

constexpr confine::Row k_rows[] = {
    allow("pread64", "rights, which come as a memory file"),
    allow("fstat", "the size of such a file"),
    allow("poll", "whether a gate that is not read is still there"),
    allow("ppoll", "the same, where there is no poll"),
    allow("setsockopt", "room for records on the channel to the auditor",
          {is(1, SOL_SOCKET), is(2, SO_SNDBUF)}),
};

}  // namespace

confine::Plan make_plan() {
    return {.process = "worker",
            .descriptors = confine::child_descriptors(),
            .rows = {confine::runtime_rows(), confine::loop_rows(), confine::channel_rows(),
                     confine::own_socket_rows(), k_rows}};
}

}  // namespace virtgate::workerd::worker
