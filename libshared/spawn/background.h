// SPDX-License-Identifier: LGPL-2.1-or-later
// background - run as a daemon where no service manager does it: away from the terminal, with a pid file.
//
//     auto background = Background::begin({.daemon = true, .pid_file = ""}, VIRTGATE_RUNDIR "/netd.pid");
//     …
//     return background->end(run());
//
// The process that was started waits until the daemon serves, and ends with its status: 0, or why it does not serve. So a
// script can rely on `virtgate-netd --daemon` as on any other command.
//
// Limits: before other threads are there and before confinement.
// Owns:   the pid file; standard input and output, which lead nowhere from then on; standard error does so when the daemon
//         serves.
// Source: daemon(7), "SysV Daemons".
#pragma once

#include <optional>
#include <string>

#include "libshared/spawn/pid_file.h"

namespace virtgate::spawn {

class Background {
public:
    struct Options {
        bool daemon = false;
        std::string pid_file{};  // empty: `usual` for a daemon, none otherwise
    };
    // With options.daemon only the daemon returns from here. A process that has executed itself anew stays what it was, also
    // if it does not get the pid file again. Error: system's fault.
    [[nodiscard]] static Result<Background> begin(const Options& options, const std::string& usual);

    // Empty if there is none.
    [[nodiscard]] const std::string& pid_path() const noexcept { return path_; }

    // Tells whoever waits that the daemon does not serve, if it never did. Returns `status`.
    int end(int status) noexcept;

private:
    Background() = default;
    std::optional<PidFile> file_;
    std::string path_;
};

// The daemon serves: whoever waits for it may go. Called with notify("READY=1…"); the first time counts.
void tell_waiting_parent(int status) noexcept;

}  // namespace virtgate::spawn
