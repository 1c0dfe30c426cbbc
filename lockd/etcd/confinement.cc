// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what a leaser keeps.
#include "lockd/etcd/confinement.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "libshared/confine/rows.h"

namespace virtgate::lockd::etcd {

namespace {

using confine::allow;
using confine::FdKind;
using confine::has_of;
using confine::is;
using confine::is_null;

constexpr unsigned k_type_mask = ~static_cast<unsigned>(SOCK_CLOEXEC | SOCK_NONBLOCK);

constexpr confine::Row k_rows[] = {
    allow("socket", "etcd's servers", {is(0, AF_INET), has_of(1, k_type_mask, SOCK_STREAM)}),
    allow("socket", "etcd's servers", {is(0, AF_INET6), has_of(1, k_type_mask, SOCK_STREAM)}),
    allow("socket", "libcurl looks whether there is IPv6",
          {is(0, AF_INET6), has_of(1, k_type_mask, SOCK_DGRAM)}),
    allow("connect", "etcd's servers; Landlock says which ports"),
    allow("getpeername", "whom a connection leads to"),
    allow("getsockname", "which end is ours"),
    allow("getsockopt", "whether a connection came about", {is(1, SOL_SOCKET), is(2, SO_ERROR)}),
    allow("setsockopt", "small requests go out at once", {is(1, IPPROTO_TCP), is(2, TCP_NODELAY)}),
    allow("setsockopt", "a server that is gone is noticed", {is(1, SOL_SOCKET), is(2, SO_KEEPALIVE)}),
    allow("setsockopt", "how soon", {is(1, IPPROTO_TCP), is(2, TCP_KEEPIDLE)}),
    allow("setsockopt", "how soon", {is(1, IPPROTO_TCP), is(2, TCP_KEEPINTVL)}),
    allow("recvfrom", "answers", {is_null(4)}),
    allow("poll", "whether a connection that waits is still there"),
    allow("ppoll", "the same, where there is no poll"),
    allow("getpid", "OpenSSL's random numbers"),
};

}  // namespace

confine::Plan make_plan(const std::vector<std::uint16_t>& ports) {
    auto descriptors = confine::child_descriptors();
    // What libcurl wakes itself with.
    descriptors.push_back({.fd = confine::MeantFd::k_any_number, .kinds = {FdKind::stream}});
    confine::Plan plan{.process = "leaser",
                       .descriptors = std::move(descriptors),
                       .rows = {confine::runtime_rows(), confine::loop_rows(), confine::channel_rows(),
                                confine::own_socket_rows(), k_rows},
                       .stays = "it connects to etcd's servers"};
    plan.paths.connect_ports = ports;
    return plan;
}

}  // namespace virtgate::lockd::etcd
