// SPDX-License-Identifier: LGPL-2.1-or-later
// machine - what this kernel has of what a confinement is made of.
//
// Trust:  asked here a second time, and not taken from what the programs say of themselves: whether a layer is missing
//         because it cannot be had is judged by this.
// Limits: what a filter of system calls above this process refuses is not there for it, nor for whom it starts.
#pragma once

#include <string>
#include <vector>

#include "libshared/confine/report.h"

namespace virtgate::ctl::sandbox {

struct Machine {
    std::string kernel;          // "Linux 6.1.0-28-amd64"
    std::string library;         // "libseccomp 2.5.4"
    int landlock = 0;            // its ABI; 0: none
    bool writable_code = false;  // PR_SET_MDWE
    bool sealed_memory = false;  // mseal(2)
    std::string not_alone{};     // why nobody can leave his namespaces; empty if they can
};

// Error: system's fault.
Result<Machine> find_machine();

// Whether a process can have `layer` here, all of it. (What takes root's privileges can be had: from root.)
[[nodiscard]] bool offers(const Machine& machine, confine::Layer layer) noexcept;

// What a newer kernel has and this one does not: "PR_SET_MDWE (Linux 6.3)", … Empty if there is nothing.
[[nodiscard]] std::vector<std::string> find_lacks(const Machine& machine);

}  // namespace virtgate::ctl::sandbox
