// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what doorman keeps: its channels, the broker's socket, local clients.
#include "netd/doorman/confinement.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "libshared/confine/rows.h"
#include "libshared/fdmap.h"

namespace virtgate::netd::doorman {

namespace {

using confine::allow;
using confine::has_of;
using confine::is;

// libvirt's sockets are streams, and so is nearly everything else that listens: a packet socket cannot connect to them.
// The broker's own socket does.
constexpr confine::Row k_broker_rows[] = {
    allow("socket", "the broker, anew when it was started again; packets only",
          {is(0, AF_UNIX), is(1, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC), is(2, 0)}),
    allow("connect", "the broker"),
    allow("socketpair", "the channel of a SASL exchange",
          {is(0, AF_UNIX), is(1, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC), is(2, 0)}),
};

// SO_PEERPIDFD is newer than the headers of the oldest system that we build on.
constexpr unsigned k_so_peerpidfd = 77;

constexpr confine::Row k_local_rows[] = {
    allow("accept4", "local clients",
          {is(0, fdmap::k_doorman_local_listener), is(3, SOCK_NONBLOCK | SOCK_CLOEXEC)}),
    allow("accept4", "local clients who only read",
          {is(0, fdmap::k_doorman_local_read_only_listener), is(3, SOCK_NONBLOCK | SOCK_CLOEXEC)}),
    allow("getsockopt", "who a local client is", {is(1, SOL_SOCKET), is(2, SO_PEERCRED)}),
    allow("getsockopt", "who a local client is", {is(1, SOL_SOCKET), is(2, SO_PEERGROUPS)}),
    allow("getsockopt", "who a local client is", {is(1, SOL_SOCKET), is(2, k_so_peerpidfd)}),
    allow("poll", "whether its process is still the one that connected"),
    allow("ppoll", "the same, where there is no poll"),
    allow("openat", "when its process was started: /proc/PID/stat; Landlock leaves nothing else",
          {has_of(2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY)}),
};

}  // namespace

confine::Plan make_plan(bool has_local_clients) {
    using confine::FdKind;
    confine::Plan plan{
        .process = "doorman",
        .descriptors = confine::child_descriptors(
            FdKind::channel, {{fdmap::k_doorman_local_listener, {FdKind::null, FdKind::listener}},
                              {fdmap::k_doorman_local_read_only_listener, {FdKind::null, FdKind::listener}}}),
        .rows = {confine::runtime_rows(), confine::loop_rows(), confine::channel_rows(),
                 confine::own_socket_rows(), k_broker_rows},
        .stays = "it asks the kernel who its clients are"};
    if (has_local_clients) {
        plan.paths.paths.push_back({.path = "/proc", .access = confine::PathAccess::read});
        plan.rows.emplace_back(k_local_rows);
    }
    return plan;
}

}  // namespace virtgate::netd::doorman
