// SPDX-License-Identifier: LGPL-2.1-or-later
// poll - libavahi-client waits in our loop.
//
// Limits: of one thread, the loop's. A watch hears of errors and of the other end's hanging up as being readable or
//         writable, which is how the loop says it.
// Source: <avahi-common/watch.h>. Times are those of the wall clock, which may be set: a timeout of a moment that has
//         passed fires at once.
#pragma once

#include <avahi-common/watch.h>

#include "libshared/loop/loop.h"

namespace virtgate::avahi {

// Has to outlive the clients that were made with it.
class Poll {
public:
    explicit Poll(loop::Loop& loop) noexcept;
    Poll(const Poll&) = delete;
    Poll& operator=(const Poll&) = delete;

    // For avahi_client_new().
    [[nodiscard]] const AvahiPoll* api() const noexcept { return &api_; }

private:
    AvahiPoll api_{};
};

}  // namespace virtgate::avahi
