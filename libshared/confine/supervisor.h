// SPDX-License-Identifier: LGPL-2.1-or-later
// supervisor - what a process keeps that starts others of our programs.
//
// Trust:  a supervisor reads no client's byte. Its filter stays with all that is started below it, so it is also what
//         those may do until they have a filter of their own. What nobody of us ever needs is missing: mounts,
//         namespaces but those that a child goes alone into, ptrace, keys, bpf, io_uring, other processes' memory and descriptors, clocks, modules.
// Limits: its Landlock rules hold for its children, too; each of them leaves itself less.
#pragma once

#include <string>

#include "libshared/confine/plan.h"

namespace virtgate::confine {

// The calls of a supervisor, and of a child that starts.
[[nodiscard]] std::span<const Row> supervisor_rows();

// For who starts a child that asks for names of hosts before it has a filter: sockets of the internet.
[[nodiscard]] std::span<const Row> resolver_rows() noexcept;

// The plan of the supervisor `process`. It may execute what is in the directory `programs`, map libraries, write to
// /dev/null, reach the service manager, and, if it is root, start children as other users. The caller adds what else it
// and its children read and write.
[[nodiscard]] Plan make_supervisor_plan(std::string_view process, const std::string& programs);

// For who starts children that leave the namespaces of their parent.
void let_leave(Plan& plan);

}  // namespace virtgate::confine
