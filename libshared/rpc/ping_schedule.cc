// SPDX-License-Identifier: LGPL-2.1-or-later
// ping_schedule - when a silent client is pinged, and when it is given up.
#include "libshared/rpc/ping_schedule.h"

#include <algorithm>

namespace virtgate::rpc {

bool PingSchedule::start(Instant now) noexcept {
    if (interval_ <= Milliseconds{0}) return false;
    started_ = true;
    on_input(now);
    return true;
}

void PingSchedule::on_input(Instant now) noexcept {
    since_ = now;
    pings_ = 0;
}

PingSchedule::Step PingSchedule::on_time(Instant now) noexcept {
    if (!started_ || now - since_ < interval_) return Step::wait;
    if (pings_ >= count_) return Step::dead;
    ++pings_;
    since_ = now;
    return Step::ping;
}

Milliseconds PingSchedule::next(Instant now) const noexcept {
    const auto left = std::chrono::ceil<Milliseconds>(since_ + interval_ - now);
    return std::max(left, Milliseconds{1});
}

}  // namespace virtgate::rpc
