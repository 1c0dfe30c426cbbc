// SPDX-License-Identifier: LGPL-2.1-or-later
// outcome - how a command ends: its exit status, what is said of a failure, and signals.
#pragma once

#include <csignal>
#include <stop_token>
#include <string>
#include <thread>

#include "ctl/output.h"
#include "libshared/base/fd.h"
#include "libshared/client/wait.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::tools {

// Exit statuses beside spawn::k_exit_*; all of them stand in virtgate(1).
inline constexpr int k_exit_refused = 1;       // the server answered with an error, or has no such thing
inline constexpr int k_exit_unreachable = 69;  // no server there, no answer in time, or the connection ended
inline constexpr int k_exit_protocol = 76;     // the server broke the protocol
inline constexpr int k_exit_denied = 77;       // a login or a certificate was refused, by either side
inline constexpr int k_exit_interrupted = 130;

[[nodiscard]] int exit_status(const client::Failure& failure) noexcept;

// One line without the program's name: "Domain not found (code 42, domain 10)".
[[nodiscard]] std::string describe(const client::Failure& failure);

int fail_with(const client::Failure& failure);

// Reads from a file, or from a pipe or terminal for as long as the deadline allows: a signal does not
// interrupt read(2) while Signals lives. 0 at the end. Error: Cause::system, with `name`; Cause::cancelled,
// Cause::timeout.
[[nodiscard]] client::Result<std::size_t> read_some(int fd, MutableBytes buffer, const std::string& name,
                                                    const client::Deadline& deadline);

// While it lives, SIGINT, SIGTERM, SIGHUP and SIGQUIT request a stop instead of ending the process. It has to
// be made before other threads are.
// Owns: a thread, and the signal mask of its maker's thread.
class Signals {
public:
    Signals();
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;
    ~Signals();

    [[nodiscard]] std::stop_token token() const noexcept { return stop_.get_token(); }
    [[nodiscard]] bool came() const noexcept { return stop_.stop_requested(); }

private:
    std::stop_source stop_;
    UniqueFd signals_, end_;
    std::thread watcher_;
};

// While it lives, those signals end the process again: who is asked something has to be able to say no.
class SignalsLetThrough {
public:
    SignalsLetThrough();
    SignalsLetThrough(const SignalsLetThrough&) = delete;
    SignalsLetThrough& operator=(const SignalsLetThrough&) = delete;
    ~SignalsLetThrough();

private:
    sigset_t before_{};
};

}  // namespace virtgate::ctl::tools
