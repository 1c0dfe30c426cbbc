// SPDX-License-Identifier: LGPL-2.1-or-later
// look - asks all daemons, and takes it as it is that some of them do not run.
//
// Limits: see daemon.h; the lock daemon has as long.
#pragma once

#include <string>

#include "ctl/admin/listing.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::admin {

// Where the daemons listen.
struct Sockets {
    std::string admin, broker, lockd;
};

// Of the packages; `directory`: of "virtgate up", if it is not empty.
[[nodiscard]] Sockets find_sockets(const std::string& directory);

// Certificates and locks are left out unless `whole`.
[[nodiscard]] Status look_at_status(const Sockets& sockets, bool whole);

// Error: the broker does not run or refuses. Without netd the sessions have no connections; `problem` says why.
[[nodiscard]] Result<Sessions> look_at_sessions(const Sockets& sockets, std::string& problem);

}  // namespace virtgate::ctl::admin
