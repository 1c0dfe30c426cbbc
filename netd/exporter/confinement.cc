// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the exporter keeps: its listener, and channels that it is given.
#include "netd/exporter/confinement.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

#include "libshared/confine/rows.h"
#include "libshared/fdmap.h"

namespace virtgate::netd::exporter {

namespace {

using confine::allow;
using confine::is;

// Those who read, the channels, the loop's and the standard ones.
constexpr std::uint64_t k_descriptors_max = 64;

constexpr confine::Row k_rows[] = {
    allow("accept4", "who wants to read, on no other descriptor",
          {is(0, fdmap::k_exporter_listener), is(3, SOCK_NONBLOCK | SOCK_CLOEXEC)}),
    allow("ioctl", "how much has come", {is(1, FIONREAD)}),
    allow("readv", "requests"),
    allow("writev", "answers"),
    allow("fstat", "whether a connection is still the same"),
    allow("newfstatat", "the same, as the C library asks it"),
};

}  // namespace

confine::Plan make_plan() {
    using confine::FdKind;
    return {.process = "exporter",
            .descriptors = confine::child_descriptors(FdKind::channel,
                                                      {{fdmap::k_exporter_listener, {FdKind::listener}}}),
            .limits = {.descriptors = k_descriptors_max},
            .rows = {confine::runtime_rows(), confine::loop_rows(), confine::channel_rows(),
                     confine::own_socket_rows(), k_rows}};
}

}  // namespace virtgate::netd::exporter
