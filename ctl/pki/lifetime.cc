// SPDX-License-Identifier: LGPL-2.1-or-later
// lifetime - dates and spans of time in words.
#include "ctl/pki/lifetime.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace virtgate::ctl::pki {

std::string say_time(std::time_t when) { return fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(when)); }

// A unit is used from the span on at which its number says enough: 13 days, but 2 weeks.
std::string say_span(std::time_t seconds) {
    struct Unit {
        std::time_t from, size;
        const char* name;
    };
    constexpr Unit k_units[] = {{2 * 365 * k_day, 365 * k_day, "year"},
                                {60 * k_day, 30 * k_day, "month"},
                                {14 * k_day, 7 * k_day, "week"},
                                {k_day, k_day, "day"},
                                {60 * 60, 60 * 60, "hour"},
                                {60, 60, "minute"}};
    const std::time_t span = seconds < 0 ? -seconds : seconds;
    for (const Unit& unit : k_units) {
        if (span < unit.from) continue;
        const std::time_t number = span / unit.size;
        return fmt::format("{} {}{}", number, unit.name, number == 1 ? "" : "s");
    }
    return "less than a minute";
}

std::string say_expiry(std::time_t now, std::time_t from, std::time_t until) {
    if (now < from) return "not valid before " + say_time(from);
    if (now > until) return fmt::format("expired {} ago", say_span(now - until));
    return "expires in " + say_span(until - now);
}

}  // namespace virtgate::ctl::pki
