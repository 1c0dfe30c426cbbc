// SPDX-License-Identifier: LGPL-2.1-or-later
// ping_schedule - when a silent client is pinged, and when it is given up.
//
// A client that asks for feature 10 is pinged when it has been silent for an interval, at most `count` times in a
// row, and is given up an interval after the last ping. A client that did not ask is never pinged: libvirt's library
// without an event loop would take the ping for a foreign event and close.
//
// Limits: no timer while nobody asked; one look at the clock for each input while somebody did.
// Source: docs/protocol.md, keepalive; the times are libvirt's.
#pragma once

#include "libshared/base/clock.h"

namespace virtgate::rpc {

class PingSchedule {
public:
    enum class Step : unsigned char {
        wait,  // look again after next()
        ping,  // send a ping, then look again after next()
        dead,  // the client has not answered: close
    };

    // `interval` 0: never ping. `count` 0: close after `interval` without a ping.
    PingSchedule(Milliseconds interval, unsigned count) noexcept : interval_(interval), count_(count) {}

    // The client asked for it. False if it is configured off.
    bool start(Instant now) noexcept;
    [[nodiscard]] bool started() const noexcept { return started_; }
    // Something came from the client, or we are not reading from it at the moment.
    void on_input(Instant now) noexcept;
    // What to do now.
    [[nodiscard]] Step on_time(Instant now) noexcept;
    // How long to wait until on_time().
    [[nodiscard]] Milliseconds next(Instant now) const noexcept;

private:
    Milliseconds interval_;
    unsigned count_;
    bool started_ = false;
    unsigned pings_ = 0;
    Instant since_{};  // of the last input or ping
};

}  // namespace virtgate::rpc
