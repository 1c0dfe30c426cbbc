// SPDX-License-Identifier: LGPL-2.1-or-later
// exit - how a child process ended, in words.
#include "libshared/spawn/exit.h"

#include <fmt/format.h>

#include <csignal>
#include <cstring>

namespace virtgate::spawn {

std::string describe(const Exit& exit) {
    if (exit.by_signal) {
        const char* name = sigabbrev_np(exit.number);
        // The kernel ends a process with SIGSYS when its system call filter says so.
        return fmt::format("was killed by {}{}{}", name != nullptr ? "SIG" : "signal ",
                           name != nullptr ? name : std::to_string(exit.number),
                           exit.number == SIGSYS ? " (sandbox violation)" : "");
    }
    switch (exit.number) {
        case 0: return "ended";
        case k_exit_usage: return "ended with status 64 (usage error)";
        case k_exit_system: return "ended with status 71 (system error)";
        case k_exit_config: return "ended with status 78 (configuration error)";
        default: return fmt::format("ended with status {}", exit.number);
    }
}

}  // namespace virtgate::spawn
