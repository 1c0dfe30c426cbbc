// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the holder keeps: starting the locker, its state, its sockets, and all that a locker works in.
//
// Source: libshared/confine/plan.h has the steps.
#pragma once

#include <string>
#include <vector>

#include "libshared/confine/plan.h"
#include "lockd/holder/settings.h"

namespace virtgate::lockd::holder {

// What the holder keeps, which serves `settings`, reads them again from `file`, and starts the programs in the directory
// `programs`.
[[nodiscard]] confine::Plan make_plan(const Settings& settings, const std::string& file,
                                      const std::string& programs);

// The directories of `settings` that its lockers may work in.
[[nodiscard]] std::vector<std::string> reach_of(const Settings& settings);

// For a holder that was executed by one that was confined: Landlock and the filter are in force, since they outlive an
// exec, and another layer each time would soon be one too many. Puts in force what does not outlive it, and asks the
// kernel for the rest. Logs what is wrong. Returns false if the process has to end.
[[nodiscard]] bool confine_again();

}  // namespace virtgate::lockd::holder
