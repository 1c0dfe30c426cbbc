// SPDX-License-Identifier: LGPL-2.1-or-later
// endpoints - where etcd's servers are: URLs taken apart, and names looked up, once.
//
// Names are looked up before the process is confined, so that it needs neither files nor a thread for that
// later. A server that moves to another address is found at the next start.
//
// Trust:  URLs are the administrator's. What the resolver says is believed; https finds out.
#pragma once

#include "lockd/etcd/cluster.h"

namespace virtgate::lockd::etcd {

// Error: system's fault, a URL that is none. A name that is not found is said and left out; also that none is
// left.
[[nodiscard]] Result<std::vector<Endpoint>> find_endpoints(const std::vector<std::string>& urls);

}  // namespace virtgate::lockd::etcd
