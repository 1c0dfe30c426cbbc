// SPDX-License-Identifier: LGPL-2.1-or-later
// exit - how a child process ended, in words.
#include "libshared/spawn/exit.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <iterator>

namespace virtgate::spawn {

bool Exit::is_violation() const noexcept { return by_signal && number == SIGSYS; }

bool Exit::is_crash() const noexcept {
    constexpr int k_faults[] = {SIGSYS, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
    return by_signal && std::find(std::begin(k_faults), std::end(k_faults), number) != std::end(k_faults);
}

std::string describe(const Exit& exit) {
    if (exit.by_signal) {
        const char* name = sigabbrev_np(exit.number);
        return fmt::format("was killed by {}{}{}", name != nullptr ? "SIG" : "signal ",
                           name != nullptr ? name : std::to_string(exit.number),
                           exit.is_violation() ? " (system call violation)" : "");
    }
    switch (exit.number) {
        case 0: return "ended";
        case k_exit_usage: return "ended with status 64 (usage error)";
        case k_exit_unavailable: return "ended with status 69 (something is not available)";
        case k_exit_system: return "ended with status 71 (system error)";
        case k_exit_config: return "ended with status 78 (configuration error)";
        default: return fmt::format("ended with status {}", exit.number);
    }
}

}  // namespace virtgate::spawn
