// SPDX-License-Identifier: LGPL-2.1-or-later
// pump - serve a fake loop's real descriptors.
#pragma once

#include "libshared/loop/fake_loop.h"

namespace virtgate::test {

// Serves descriptors that are ready and timers that are due until nothing more happens. No time passes.
void pump(loop::FakeLoop& loop);

// Pumps until `done()`, which may depend on other processes; false if that takes longer than ten seconds.
template <class Done>
[[nodiscard]] bool pump_until(loop::FakeLoop& loop, Done&& done);

// A moment for other processes.
void rest_a_moment();

template <class Done>
bool pump_until(loop::FakeLoop& loop, Done&& done) {
    constexpr int k_moments = 5'000;
    for (int i = 0; i < k_moments; ++i) {
        pump(loop);
        if (done()) return true;
        rest_a_moment();
    }
    return false;
}

}  // namespace virtgate::test
