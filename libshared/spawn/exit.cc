// SPDX-License-Identifier: LGPL-2.1-or-later
// exit - how a child process ended, in words.
#include "libshared/spawn/exit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <iterator>

namespace virtgate::spawn {

bool Exit::is_violation() const noexcept { return by_signal && number == SIGSYS; }

bool Exit::is_crash() const noexcept {
    constexpr int k_faults[] = {SIGSYS, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
    return by_signal && std::find(std::begin(k_faults), std::end(k_faults), number) != std::end(k_faults);
}

bool Exit::is_for_administrator() const noexcept {
    return !by_signal &&
           (number == k_exit_no_input || number == k_exit_no_permission || number == k_exit_config);
}

int status_of(const Error& error, int otherwise) noexcept {
    switch (error.number) {
        case ENOENT:
        case ENOTDIR:
        case EISDIR:
        case ELOOP: return k_exit_no_input;
        case EACCES:
        case EPERM: return k_exit_no_permission;
        case EADDRINUSE:
        case ECONNREFUSED: return k_exit_unavailable;
        case EIO:
        case ENOSPC:
        case EDQUOT:
        case EROFS:
        case EFBIG: return k_exit_input_output;
        case EMFILE:
        case ENFILE:
        case ENOMEM:
        case ENOBUFS: return k_exit_system;
        default: return otherwise;
    }
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
        case k_exit_no_input: return "ended with status 66 (a file is missing)";
        case k_exit_unavailable: return "ended with status 69 (something is not available)";
        case k_exit_system: return "ended with status 71 (system error)";
        case k_exit_input_output: return "ended with status 74 (input or output error)";
        case k_exit_no_permission: return "ended with status 77 (permission denied)";
        case k_exit_config: return "ended with status 78 (configuration error)";
        default: return fmt::format("ended with status {}", exit.number);
    }
}

}  // namespace virtgate::spawn
