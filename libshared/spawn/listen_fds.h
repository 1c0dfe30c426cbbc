// SPDX-License-Identifier: LGPL-2.1-or-later
// listen_fds - descriptors that the service manager hands to a daemon: listeners, and what the daemon left with it.
//
// Trust:  the environment is the service manager's. It is checked all the same: a descriptor that is not there, or
//         names that do not fit the number, mean that something else went wrong, and nothing may be guessed then.
// Limits: k_listen_names_max bytes of names, since the kernel takes no longer text in an environment.
// Source: sd_listen_fds(3): LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES; the descriptors begin at 3.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
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

// Moves the socket called `name` out of `passed`, now non-blocking; empty if there is none. Error: system's fault, it is not
// one that listens for `type` (SOCK_STREAM) in one of the `families` (AF_INET6), or there are two of that name.
Result<UniqueFd> take_listener(std::vector<NamedFd>& passed, std::string_view name, int type,
                               std::initializer_list<int> families);

// Error: system's fault, if `passed` still has something: a socket that clients reach and nobody here would serve.
Done expect_nothing_left(const std::vector<NamedFd>& passed);

}  // namespace virtgate::spawn
