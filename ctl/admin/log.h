// SPDX-License-Identifier: LGPL-2.1-or-later
// log - "virtgate log": what netd and workerd log and where to, shown and changed while they run.
//
// What is changed holds until the daemon reads its file anew.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ctl/admin/look.h"

namespace virtgate::ctl::admin {

struct LogOrder {
    std::vector<std::string> daemons{};  // "netd", "workerd"; none: both
    std::optional<std::string> level{}, filters{}, outputs{};
    bool reset = false;  // as the file says
    bool json = false;

    [[nodiscard]] bool changes() const noexcept { return reset || level || filters || outputs; }
};

// What one daemon logs, as people write it.
struct LogState {
    std::string daemon;
    std::string level;                            // "info"
    std::vector<std::string> filters, outputs{};  // "debug:gate", "info:stderr"
};

// libvirt's list "1:gate 3:keeper" in words: {"debug:gate", "warning:keeper"}.
[[nodiscard]] std::vector<std::string> to_words(const std::string& list);

// Returns the exit status of the program.
[[nodiscard]] int run_log(const Sockets& sockets, const LogOrder& order);

}  // namespace virtgate::ctl::admin
