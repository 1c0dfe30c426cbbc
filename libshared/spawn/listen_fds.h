// SPDX-License-Identifier: LGPL-2.1-or-later
// listen_fds - descriptors that the service manager hands to a daemon: listeners, and what the daemon left with it.
//
// Trust:  the environment is the service manager's. It is checked all the same: a descriptor that is not there, or
//         names that do not fit the number, mean that something else went wrong, and nothing may be guessed then.
// Limits: k_listen_names_max bytes of names, since the kernel takes no longer text in an environment.
// Source: sd_listen_fds(3): LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES; the descriptors begin at 3.
#pragma once

#include <string>
#include <vector>

#include "libshared/base/fd.h"

namespace virtgate::spawn {

inline constexpr int k_listen_fds_start = 3;
// Linux: MAX_ARG_STRLEN, less the variable's own name and the NUL.
inline constexpr std::size_t k_listen_names_max = 131'072 - sizeof "LISTEN_FDNAMES=";
// What one without a name is called.
inline constexpr const char* k_listen_unnamed = "unknown";

struct NamedFd {
    std::string name;
    UniqueFd fd;
};

// The descriptors that were passed to this very process, now close-on-exec and the caller's, in the order of their
// numbers; none if there are none, or if they were meant for another process. To be called once, before anything else
// opens a descriptor: the variables are gone afterwards. Error: system's fault; nothing was taken then.
Result<std::vector<NamedFd>> take_listen_fds();

}  // namespace virtgate::spawn
