// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the steward keeps: its socket, and channels that it is given.
#include "netd/steward/confinement.h"

#include <sys/socket.h>

#include "libshared/confine/rows.h"
#include "libshared/fdmap.h"

namespace virtgate::netd::steward {

namespace {

using confine::allow;
using confine::is;

constexpr confine::Row k_rows[] = {
    allow("accept4", "administrators, on no other descriptor",
          {is(0, fdmap::k_steward_listener), is(3, SOCK_NONBLOCK | SOCK_CLOEXEC)}),
    allow("getsockopt", "who an administrator is", {is(1, SOL_SOCKET), is(2, SO_PEERCRED)}),
};

}  // namespace

confine::Plan make_plan() {
    using confine::FdKind;
    return {.process = "steward",
            .descriptors = confine::child_descriptors(
                FdKind::channel, {{fdmap::k_steward_listener, {FdKind::null, FdKind::listener}}}),
            .rows = {confine::runtime_rows(), confine::loop_rows(), confine::channel_rows(),
                     confine::own_socket_rows(), k_rows},
            .stays = "it asks the kernel who its clients are"};
}

}  // namespace virtgate::netd::steward
