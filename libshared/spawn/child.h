// SPDX-License-Identifier: LGPL-2.1-or-later
// child - start another program of ours with exactly the descriptors it should have.
//
// A child has: 0 = /dev/null, 1 and 2 = a pipe to its parent, 3 = its configuration, 4 = its control channel,
// then what its role needs (libshared/fdmap.h), and nothing else. Its environment is emptied, it leads its
// own session (so Ctrl-C reaches the top process only), it cannot gain privileges by exec (no_new_privs), and
// it is killed when its parent ends.
//
// Trust:  a child may be taken over later. What it gets here is all it will ever have.
// Limits: the kernel kills a child when the *thread* that started it ends: start children from a thread that
//         lives as long as the process, the main one.
// Owns:   Launch owns the descriptors to hand over; Child owns the parent's ends.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"
#include "libshared/spawn/user.h"

namespace virtgate::spawn {

// What a daemon gets as the service manager would pass it (listen_fds.h).
struct ListenFd {
    std::string name;  // without ":"
    int fd = -1;       // borrowed until start() returns; the open file description is shared with the daemon
};

// What to start.
struct Launch {
    std::string path;                      // of the executable, absolute
    std::string name;                      // in logs, and in ps as "virtgate: NAME"; for example "gate-0"
    std::vector<std::string> arguments;    // after argv[0]
    std::vector<std::string> environment;  // "NAME=value" beside the variables that every child inherits (TZ)
    std::optional<ByteVector> config;      // becomes the sealed memory file at descriptor 3; none: /dev/null
    bool control = false;         // makes a SOCK_SEQPACKET pair, the child's end is 4; otherwise /dev/null
    std::vector<UniqueFd> extra;  // become 5, 6, …; the open file descriptions are shared with the child
    // Become 3, 4, …, with LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES to say so. For daemons, which have none of the three
    // above.
    std::vector<ListenFd> listen;
    std::optional<User> user;  // to run as; the parent has to be root
    // Root's children cannot become root again by any exec, unless they start processes as other users themselves.
    bool keeps_capabilities = false;
    // Of what it logs, so much is passed on (log_relay.h). A supervisor has bounded what its children say.
    unsigned log_lines_per_second = 200;
};

// A process that was started. It runs on when this object is destroyed, and has to be reaped: see ward.h,
// which does all that.
struct Child {
    pid_t pid = -1;
    UniqueFd process;  // pidfd: readable when it has ended
    UniqueFd control;  // our end of the control channel, non-blocking; empty without Launch::control
    UniqueFd log;      // what it writes to its standard output and error, non-blocking
};

// Starts a child and waits until its program runs (its main() may not have begun).
// Error: system's fault, with the step that failed and its errno; nothing was started then.
Result<Child> start(Launch launch);

}  // namespace virtgate::spawn
