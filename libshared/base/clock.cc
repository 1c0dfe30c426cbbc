// SPDX-License-Identifier: LGPL-2.1-or-later
// clock - time that a test can set.
#include "libshared/base/clock.h"

namespace virtgate {

namespace {

class SystemClock final : public Clock {
public:
    [[nodiscard]] Instant now() const noexcept override { return std::chrono::steady_clock::now(); }
};

}  // namespace

const Clock& system_clock() noexcept {
    static const SystemClock clock;
    return clock;
}

}  // namespace virtgate
