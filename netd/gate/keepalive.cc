// SPDX-License-Identifier: LGPL-2.1-or-later
// keepalive - is the client still there?
#include "netd/gate/keepalive.h"

#include <algorithm>

namespace virtgate::netd::gate {

bool Keepalive::start(Instant now) noexcept {
    if (interval_ <= Milliseconds{0}) return false;
    started_ = true;
    on_input(now);
    return true;
}

void Keepalive::on_input(Instant now) noexcept {
    since_ = now;
    pings_ = 0;
}

Keepalive::Step Keepalive::on_time(Instant now) noexcept {
    if (!started_ || now - since_ < interval_) return Step::wait;
    if (pings_ >= count_) return Step::dead;
    ++pings_;
    since_ = now;
    return Step::ping;
}

Milliseconds Keepalive::next(Instant now) const noexcept {
    const auto left = std::chrono::ceil<Milliseconds>(since_ + interval_ - now);
    return std::max(left, Milliseconds{1});
}

}  // namespace virtgate::netd::gate
