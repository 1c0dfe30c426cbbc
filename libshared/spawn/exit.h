// SPDX-License-Identifier: LGPL-2.1-or-later
// exit - how a child process ended, and the exit statuses that our own programs use.
#pragma once

#include <string>

#include "libshared/base/result.h"

namespace virtgate::spawn {

// Exit statuses of every program here (a part of sysexits(3)).
inline constexpr int k_exit_usage = 64;     // the command line is wrong
inline constexpr int k_exit_no_input = 66;  // a file or a directory is not there
// A port, a socket or a pid file belongs to another process; a server cannot be reached. Of a child: what it needs outside of
// virtgate is not there. It has said what, and waits for that by being started again.
inline constexpr int k_exit_unavailable = 69;
inline constexpr int k_exit_system = 71;         // the machine is in the way
inline constexpr int k_exit_input_output = 74;   // a disk is full or broken
inline constexpr int k_exit_no_permission = 77;  // owner or mode of a file is in the way
inline constexpr int k_exit_config = 78;         // the configuration is wrong

struct Exit {
    bool by_signal = false;
    int number = 0;  // the exit status, or the signal

    [[nodiscard]] bool success() const noexcept { return !by_signal && number == 0; }
    // It made a system call that its filter does not allow: the kernel ends such a process with SIGSYS.
    [[nodiscard]] bool is_violation() const noexcept;
    // It waits for something: k_exit_unavailable.
    [[nodiscard]] bool is_waiting() const noexcept { return !by_signal && number == k_exit_unavailable; }
    // Nothing gets better by starting it again: an administrator has to put a file right.
    [[nodiscard]] bool is_for_administrator() const noexcept;
    // It did something that no program should: a violation, a bad address, a failed assertion. Somebody who
    // sends SIGKILL or SIGTERM is no crash.
    [[nodiscard]] bool is_crash() const noexcept;
};

// In words: "ended", "ended with status 78 (configuration error)", "was killed by SIGKILL",
// "was killed by SIGSYS (system call violation)".
[[nodiscard]] std::string describe(const Exit& exit);

// The exit status for `error`, by its number: what is missing is k_exit_no_input, what is refused k_exit_no_permission, what
// another process has k_exit_unavailable, a broken or full disk k_exit_input_output, and a bound of the machine
// k_exit_system. `otherwise` for all other errors.
[[nodiscard]] int status_of(const Error& error, int otherwise) noexcept;

}  // namespace virtgate::spawn
