// SPDX-License-Identifier: LGPL-2.1-or-later
// wall_clock - whether the date of this machine can be right.
#include "libshared/base/wall_clock.h"

#include <fmt/chrono.h>

namespace virtgate {

std::string to_date(std::time_t when) {
    std::tm parts{};
    if (gmtime_r(&when, &parts) == nullptr) return "a time that no calendar has";
    return fmt::format("{:%Y-%m-%d %H:%M} UTC", parts);
}

std::string judge_clock(std::time_t now) {
    const std::string says = fmt::format("the clock of this machine says {}", to_date(now));
    if (now < k_released)
        return fmt::format("{}, which is wrong: virtgate is from {}; set it (timedatectl)", says,
                           to_date(k_released));
    return says + "; if that is wrong, set it (timedatectl)";
}

}  // namespace virtgate
