// SPDX-License-Identifier: LGPL-2.1-or-later
// wait - how long a caller will wait, and waiting for a descriptor no longer than that.
#pragma once

#include <stop_token>

#include "libshared/base/clock.h"
#include "libshared/base/fd.h"
#include "libshared/client/failure.h"
#include "libshared/loop/loop.h"

namespace virtgate::client {

using loop::Want;

// When to give up. Both ends can be left open: then a call waits until it is answered or the connection is
// closed.
struct Deadline {
    Instant at = Instant::max();
    std::stop_token
        stop{};  // request_stop() of its source, in any thread, ends the wait with Cause::cancelled

    [[nodiscard]] static Deadline in(Milliseconds from_now) {
        return {.at = system_clock().now() + from_now, .stop = {}};
    }
    [[nodiscard]] bool passed(Instant now) const noexcept { return now >= at; }
};

// What poll(2) takes to wait until `at`: rounded up, -1 for ever.
[[nodiscard]] int poll_timeout(Instant now, Instant at) noexcept;

// Waits for descriptors in one thread, and can be told from any other thread not to.
class Waiter {
public:
    // Error: Cause::system, if there is no descriptor left.
    [[nodiscard]] static Result<Waiter> make();

    // Waits until `fd` (borrowed) is ready for one of `want`. Error: Cause::timeout, Cause::cancelled, or
    // Cause::system.
    [[nodiscard]] Done wait(int fd, Want want, const Deadline& deadline) const;

private:
    explicit Waiter(UniqueFd wakeup) : wakeup_(std::move(wakeup)) {}
    UniqueFd wakeup_;  // an eventfd, written to when a stop is requested
};

}  // namespace virtgate::client
