// SPDX-License-Identifier: LGPL-2.1-or-later
// ping - how long a call takes to a server and back.
#pragma once

#include "ctl/tools/target.h"

namespace virtgate::ctl::tools {

struct PingOrder {
    Target target;
    unsigned count = 4;        // 0: until a signal
    unsigned interval = 1000;  // milliseconds from call to call
    unsigned seconds = 10;     // until an answer is too late
    bool json = false;
};

// Exit status 0 if every call was answered.
[[nodiscard]] int run_ping(const PingOrder& order);

}  // namespace virtgate::ctl::tools
