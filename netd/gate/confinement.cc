// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what a gate keeps: its listeners and sockets that others gave it.
#include "netd/gate/confinement.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "libshared/confine/rows.h"
#include "libshared/fdmap.h"

namespace virtgate::netd::gate {

namespace {

using confine::allow;
using confine::is;

constexpr confine::Row k_rows[] = {
    allow("accept4", "clients that use TLS, on no other descriptor",
          {is(0, fdmap::k_gate_tls_listener), is(3, SOCK_NONBLOCK | SOCK_CLOEXEC)}),
    allow("accept4", "clients that use TCP",
          {is(0, fdmap::k_gate_tcp_listener), is(3, SOCK_NONBLOCK | SOCK_CLOEXEC)}),
    allow("poll", "keeper's answer"),
    allow("ppoll", "the same, where there is no poll"),
    allow("setsockopt", "small frames go out at once; no filters, no options of the network layer",
          {is(1, IPPROTO_TCP), is(2, TCP_NODELAY)}),
    allow("setsockopt", "how long keeper's answer is waited for", {is(1, SOL_SOCKET), is(2, SO_RCVTIMEO)}),
    allow("setsockopt", "how long a question to keeper may take", {is(1, SOL_SOCKET), is(2, SO_SNDTIMEO)}),
};

}  // namespace

confine::Plan make_plan() {
    using confine::FdKind;
    return {.process = "gate",
            .descriptors = confine::child_descriptors(
                FdKind::channel, {{fdmap::k_gate_tls_listener, {FdKind::listener}},
                                  {fdmap::k_gate_tcp_listener, {FdKind::null, FdKind::listener}}}),
            .rows = {confine::runtime_rows(), confine::loop_rows(), confine::channel_rows(),
                     confine::own_socket_rows(), k_rows}};
}

}  // namespace virtgate::netd::gate
