// SPDX-License-Identifier: LGPL-2.1-or-later
// port_holder - which process listens on a TCP port already, for the message that it is in use.
//
// Limits: without rights over the other process only its user is known.
// Source: proc(5), /proc/net/tcp and /proc/PID/fd.
#pragma once

#include <cstdint>
#include <string>

namespace virtgate::netd {

// "libvirtd (pid 812)", or "a process of user 0"; empty if nothing can be found out.
[[nodiscard]] std::string find_port_holder(std::uint16_t port);

}  // namespace virtgate::netd
