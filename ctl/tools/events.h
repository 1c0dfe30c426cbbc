// SPDX-License-Identifier: LGPL-2.1-or-later
// events - what happens at a server, as it happens.
#pragma once

#include <string>
#include <vector>

#include "ctl/tools/target.h"

namespace virtgate::ctl::tools {

struct EventsOrder {
    Target target;
    std::vector<std::string>
        types;           // "FAMILY.NAME", "FAMILY" or "NAME"; empty: all but those of QEMU's monitor
    std::string domain;  // name or UUID; empty: of any
    unsigned count = 0;  // ends after so many; 0: never
    bool json = false;
    bool reconnect = false;  // goes on when the connection was lost
};

// The types there are, one a line; or as JSON.
[[nodiscard]] std::string list_event_types(bool json);

[[nodiscard]] int run_events(const EventsOrder& order);

}  // namespace virtgate::ctl::tools
