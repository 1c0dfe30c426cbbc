// SPDX-License-Identifier: LGPL-2.1-or-later
// privileges - what the kernel lets a process do because of who it is.
//
// Limits: capabilities and no_new_privs belong to a thread, so these come before the second thread and refuse
//         to run later (load() of a filter gives no_new_privs to all).
#pragma once

#include <span>

#include "libshared/confine/report.h"

namespace virtgate::confine {

// Error: system's fault, if this process has more than one thread, or if /proc cannot tell. `before` says in
// the error what has to come first: "capabilities are dropped".
Done expect_one_thread(const char* before);

// An exec gives nothing any more: no set-user-ID, no file capabilities. The filter asks for it.
// Source: prctl(2) PR_SET_NO_NEW_PRIVS, Linux 3.5.
Done forbid_new_privileges(Report& report);

// No core file, no ptrace by others of the same user, and /proc/PID belongs to root.
// Comes after any change of user, which the kernel lets reset it. Source: prctl(2) PR_SET_DUMPABLE.
Done close_memory(Report& report);

// Drops all capabilities but `keep` (numbers of linux/capability.h): effective and permitted become exactly
// `keep` as far as the process has it, inheritable and ambient become what `pass_on` has of that, the bounding set
// empty. Then the secure bits are locked, so that uid 0 means nothing by itself. All is read back. What is passed on,
// every program has that this process executes, until it drops it.
//
// The bounding set and the secure bits take CAP_SETPCAP. Who has been started without it lacks both (Demand
// decides): with no_new_privs they change nothing, so that is the same protection once more, not another one.
// Error: system's fault.
Done drop_capabilities(std::span<const unsigned> keep, Report& report,
                       std::span<const unsigned> pass_on = {});

}  // namespace virtgate::confine
