// SPDX-License-Identifier: LGPL-2.1-or-later
// clock - time that a test can set.
//
// Everything that waits or measures takes a Clock, so that a test of a 30 second deadline takes no time.
#pragma once

#include <chrono>

namespace virtgate {

using Milliseconds = std::chrono::milliseconds;
// Monotonic: it counts from an arbitrary moment and never steps.
using Instant = std::chrono::steady_clock::time_point;

class Clock {
public:
    virtual ~Clock() = default;
    [[nodiscard]] virtual Instant now() const noexcept = 0;
};

// The machine's monotonic clock.
[[nodiscard]] const Clock& system_clock() noexcept;

// Stands still until it is told otherwise.
class FakeClock final : public Clock {
public:
    [[nodiscard]] Instant now() const noexcept override { return now_; }
    void advance(Milliseconds by) noexcept { now_ += by; }

private:
    Instant now_{};
};

}  // namespace virtgate
