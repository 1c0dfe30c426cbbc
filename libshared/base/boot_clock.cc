// SPDX-License-Identifier: LGPL-2.1-or-later
// boot_clock - time that goes on while the machine sleeps: what a lease somewhere else is measured with.
#include "libshared/base/boot_clock.h"

#include <ctime>

#include "libshared/base/result.h"

namespace virtgate {

namespace {

class BootClock final : public Clock {
public:
    [[nodiscard]] Instant now() const noexcept override {
        timespec time{};
        require(clock_gettime(CLOCK_BOOTTIME, &time) == 0, "the machine has no CLOCK_BOOTTIME");
        return Instant{std::chrono::seconds{time.tv_sec} + std::chrono::nanoseconds{time.tv_nsec}};
    }
};

}  // namespace

const Clock& boot_clock() noexcept {
    static const BootClock clock;
    return clock;
}

// Rounded down: a deadline is never later for having been written down.
std::uint64_t to_boot_ms(Instant instant) noexcept {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<Milliseconds>(instant.time_since_epoch()).count());
}

Instant from_boot_ms(std::uint64_t ms) noexcept { return Instant{Milliseconds{ms}}; }

}  // namespace virtgate
