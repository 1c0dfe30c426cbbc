// SPDX-License-Identifier: LGPL-2.1-or-later
// watchdog - tells the service manager in time that this process's loop still turns.
#include "libshared/spawn/watchdog.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "libshared/base/log.h"
#include "libshared/spawn/notify.h"

namespace virtgate::spawn {

namespace {

std::optional<std::uint64_t> read_number(const char* variable) noexcept {
    const char* text = std::getenv(variable);
    if (text == nullptr) return std::nullopt;
    const std::string_view digits = text;
    std::uint64_t number = 0;
    const auto [rest, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (failure != std::errc{} || rest != digits.data() + digits.size()) return std::nullopt;
    return number;
}

// What the manager waits for a message; zero: it does not.
Milliseconds read_patience() noexcept {
    constexpr std::uint64_t k_day = std::uint64_t{24} * 60 * 60 * 1'000'000;  // more is as good as that
    const auto microseconds = read_number("WATCHDOG_USEC");
    const bool is_for_all = std::getenv("WATCHDOG_PID") == nullptr;
    const auto pid = read_number("WATCHDOG_PID");
    if (!microseconds || (!is_for_all && pid != static_cast<std::uint64_t>(getpid()))) return Milliseconds{0};
    return Milliseconds{static_cast<Milliseconds::rep>(std::min(*microseconds, k_day) / 1000)};
}

}  // namespace

Watchdog::Watchdog(loop::Loop& loop) : period_(read_patience() / 2) {
    if (period_ == Milliseconds{0}) return;
    auto socket = connect_notify();
    if (!socket || !*socket) {
        Log().warning("the service manager's watchdog cannot be fed: {}",
                      socket ? "NOTIFY_SOCKET is not set" : socket.error().text);
        return;
    }
    socket_ = std::move(*socket);
    timer_ = loop.timer(loop::to<&Watchdog::on_time>(*this));
    on_time();
}

void Watchdog::on_time() noexcept {
    // A manager that is behind hears it the next time, or ends this process; waiting for it here would be worse.
    static_cast<void>(send_notice(socket_.get(), "WATCHDOG=1"));
    timer_->start(period_);
}

}  // namespace virtgate::spawn
