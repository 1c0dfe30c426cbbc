// SPDX-License-Identifier: LGPL-2.1-or-later
// watchdog - tells the service manager in time that this process's loop still turns.
//
// Fed from the loop, so that a loop that hangs is noticed; what waits for others must not block it.
//
// Source: sd_watchdog_enabled(3): WATCHDOG_USEC, and WATCHDOG_PID if it is meant for one process only.
#pragma once

#include <memory>

#include "libshared/base/fd.h"
#include "libshared/loop/loop.h"

namespace virtgate::spawn {

class Watchdog {
public:
    // Nobody is told anything where the variables are missing, or not meant for this process. They stay in the environment,
    // for a process that executes itself anew.
    explicit Watchdog(loop::Loop& loop);

    // Between two messages: half of what the manager waits. Zero: it does not wait for any.
    [[nodiscard]] Milliseconds period() const noexcept { return period_; }

private:
    void on_time() noexcept;

    Milliseconds period_{0};
    UniqueFd socket_;
    std::unique_ptr<loop::Timer> timer_;
};

}  // namespace virtgate::spawn
