// SPDX-License-Identifier: LGPL-2.1-or-later
// namespaces - a process alone: a network with nobody in it, nobody's shared memory, and no file that has a name.
//
// What other layers refuse is then not there at all: no address to connect to, no abstract socket of somebody else, and
// with an empty root directory no socket that has a name either, which Landlock does not cover.
//
// Making namespaces takes privileges, or a user namespace, in which everybody has them: so that is made first, nobody is
// mapped into it, and drop_capabilities(), which has to follow, gives up what it gave. From outside the process is who it
// was. Inside every user is 65534, also whoever owns a file or is at the other end of a socket: so processes that look at
// that stay outside, as do those that connect to an address.
//
// Sockets belong to the namespace that they were made in. Those that a process has, or is given, go on working, listeners
// too.
//
// Trust:  who is the same user outside has all capabilities in such a namespace, but not in the memory of a process that was
//         executed before it was made: close_memory() holds. So it is made by the process itself, never before an exec.
// Limits: takes a process of one thread. Administrators can forbid user namespaces (sysctl, AppArmor, RestrictNamespaces= of
//         systemd.exec(5)): that is a lack, unless the service manager has given a network without anybody already.
// Source: user_namespaces(7), network_namespaces(7), unshare(2).
#pragma once

#include <sys/types.h>

#include <string>

#include "libshared/base/fd.h"
#include "libshared/confine/report.h"

namespace virtgate::confine {

// New namespaces of users, network, IPC and host name. Afterwards this process has every capability in them, until
// drop_capabilities(). Reads the files of /proc/self.
// Result: true if there are new ones; false, if that is noted as lacking, or if the service manager's are enough.
// Error: system's fault; also a second thread.
Result<bool> leave_namespaces(Report& report);

// The way to an empty root directory: that of a process which has ended. It takes a capability, and comes after the last
// file was opened, when that is gone: a second process, which shares root and working directory, keeps it until then.
class EmptyRoot {
public:
    // After leave_namespaces(), before drop_capabilities(). Error: system's fault.
    static Result<EmptyRoot> prepare();

    // Nothing has a name any more for this process. Once. Error: system's fault.
    Done enter(Report& report);

    EmptyRoot(EmptyRoot&& other) noexcept;
    EmptyRoot& operator=(EmptyRoot&&) = delete;
    ~EmptyRoot();  // ends the second process, if it still waits

private:
    EmptyRoot(UniqueFd go, pid_t helper) noexcept : go_(std::move(go)), helper_(helper) {}
    [[nodiscard]] int end() noexcept;  // its status, as waitpid() has it

    UniqueFd go_;
    pid_t helper_ = -1;
};

// For who starts processes that leave_namespaces(): tries it, in a process that ends at once. The text says why they
// could not; empty if they can. Error: system's fault.
Result<std::string> find_why_not_alone();

}  // namespace virtgate::confine
