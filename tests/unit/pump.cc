// SPDX-License-Identifier: LGPL-2.1-or-later
// pump - serve a fake loop's real descriptors.
#include "tests/unit/pump.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <unistd.h>

namespace virtgate::test {

using loop::Want;

namespace {

constexpr int k_fd_limit = 128;
constexpr int k_turns_max = 10'000;

bool serve_once(loop::FakeLoop& loop) {
    bool happened = false;
    loop.advance(Milliseconds{0});
    for (int fd = 0; fd < k_fd_limit; ++fd) {
        const Want want = loop.wanted(fd);
        if (want == Want::nothing) continue;
        const int events = (has(want, Want::read) ? POLLIN : 0) | (has(want, Want::write) ? POLLOUT : 0);
        pollfd one{fd, static_cast<short>(events), 0};
        if (poll(&one, 1, 0) <= 0) continue;
        const bool gone = (one.revents & (POLLHUP | POLLERR)) != 0;
        if (has(want, Want::read) && (gone || (one.revents & POLLIN) != 0))
            happened |= loop.ready(fd, Want::read) != 0;
        if (has(want, Want::write) && (gone || (one.revents & POLLOUT) != 0))
            happened |= loop.ready(fd, Want::write) != 0;
    }
    return happened;
}

}  // namespace

void pump(loop::FakeLoop& loop) {
    for (int i = 0; i < k_turns_max; ++i)
        if (!serve_once(loop)) return;
    cr_assert(false, "the loop never rests");
}

void rest_a_moment() { usleep(2'000); }

}  // namespace virtgate::test
