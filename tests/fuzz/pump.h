// SPDX-License-Identifier: LGPL-2.1-or-later
// pump - serves a fake loop's real descriptors, for fuzzers: there a loop that never rests ends the process.
#pragma once

#include <poll.h>

#include "libshared/loop/fake_loop.h"

namespace virtgate::fuzz {

// Serves what is ready until nothing is.
inline void pump(loop::FakeLoop& loop) {
    constexpr int k_fds = 64, k_turns = 2'000;
    for (int turn = 0; turn < k_turns; ++turn) {
        bool happened = false;
        loop.run();
        loop.advance(Milliseconds{0});
        for (int fd = 0; fd < k_fds; ++fd) {
            const loop::Want want = loop.wanted(fd);
            if (want == loop::Want::nothing) continue;
            const int events =
                (has(want, loop::Want::read) ? POLLIN : 0) | (has(want, loop::Want::write) ? POLLOUT : 0);
            pollfd one{fd, static_cast<short>(events), 0};
            if (poll(&one, 1, 0) <= 0) continue;
            const bool is_gone = (one.revents & (POLLHUP | POLLERR)) != 0;
            if (has(want, loop::Want::read) && (is_gone || (one.revents & POLLIN) != 0))
                happened |= loop.ready(fd, loop::Want::read) != 0;
            if (has(want, loop::Want::write) && (is_gone || (one.revents & POLLOUT) != 0))
                happened |= loop.ready(fd, loop::Want::write) != 0;
        }
        if (!happened) return;
    }
    require(false, "the loop never rests");
}

}  // namespace virtgate::fuzz
