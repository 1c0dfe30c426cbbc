// SPDX-License-Identifier: LGPL-2.1-or-later
// ground - what all generations of processes share: the listeners, above all.
//
// A listener that the service manager passes (systemd.socket(5), FileDescriptorName=) is used instead of opening one, and
// wherever it is, it is right:
//
//     "tls", "tcp"        TCP sockets, IPv4 or IPv6
//     "metrics"           a UNIX stream socket, or a TCP socket at an address of the loopback interface
//     "admin"             the UNIX stream socket for administrators
//     "unix", "unix-ro"   UNIX stream sockets; their names in the file system stay the manager's
//
// Trust:  the service manager's sockets are looked at all the same: what listens where nobody serves, or without what a
//         client has to prove there being known, is a mistake that somebody should hear of.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "libshared/channel/local_listener.h"
#include "libshared/spawn/listen_fds.h"
#include "libshared/spawn/user.h"
#include "netd/listener.h"
#include "netd/post.h"
#include "netd/settings.h"

namespace virtgate::netd {

// It outlives the generations.
struct Ground {
    std::string directory;                          // where the children's executables are
    Listener tls, tcp;                              // the second may be empty
    channel::LocalListener local, local_read_only;  // may be empty
    channel::LocalListener admin;                   // may be empty
    bool in_background = false;                     // no terminal and no service manager
    // Where what is counted can be read: none, or one of the two.
    Listener metrics;
    channel::LocalListener local_metrics;
    std::map<Role, spawn::User> users;  // as whom they run; without an entry: as the supervisor itself
};

// All listeners that `settings` name. If some were `passed`, those at plain TCP, UNIX sockets and the administrators' that were not are off, in
// `settings`, too: which of them there are says one place only. Error: system's fault: one cannot be opened, or something
// was passed that `settings` have off or nobody knows.
Result<Ground> open_ground(Settings& settings, std::vector<spawn::NamedFd> passed);

}  // namespace virtgate::netd
