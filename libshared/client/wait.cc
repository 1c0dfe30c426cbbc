// SPDX-License-Identifier: LGPL-2.1-or-later
// wait - how long a caller will wait, and waiting for a descriptor no longer than that.
#include "libshared/client/wait.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace virtgate::client {

int poll_timeout(Instant now, Instant at) noexcept {
    constexpr std::chrono::milliseconds::rep k_longest = 3600000;
    if (at == Instant::max()) return -1;
    if (at <= now) return 0;
    // Compared before it is rounded: the far future does not fit into milliseconds rounded up.
    if (at - now > Milliseconds{k_longest}) return static_cast<int>(k_longest);
    return static_cast<int>(std::chrono::ceil<Milliseconds>(at - now).count());
}

Result<Waiter> Waiter::make() {
    UniqueFd wakeup{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!wakeup) return fail_system(errno, "cannot make an event descriptor");
    return Waiter(std::move(wakeup));
}

Done Waiter::wait(int fd, Want want, const Deadline& deadline) const {
    // Written in the thread that requests the stop; its destructor waits for that.
    const std::stop_callback on_stop(deadline.stop, [this] {
        const std::uint64_t one = 1;
        static_cast<void>(!write(wakeup_.get(), &one, sizeof one));
    });
    const short events =
        static_cast<short>((has(want, Want::read) ? POLLIN : 0) | (has(want, Want::write) ? POLLOUT : 0));
    while (true) {
        if (deadline.stop.stop_requested()) return fail(Cause::cancelled, "given up by the caller");
        const Instant now = system_clock().now();
        std::array<pollfd, 2> waited{{{fd, events, 0}, {wakeup_.get(), POLLIN, 0}}};
        const int ready = poll(waited.data(), waited.size(), poll_timeout(now, deadline.at));
        if (ready < 0 && errno != EINTR) return fail_system(errno, "cannot wait for the server");
        if (ready > 0 && waited[0].revents != 0) return {};
        if (ready == 0 && deadline.passed(system_clock().now()))
            return fail(Cause::timeout, "no answer in time");
    }
}

}  // namespace virtgate::client
