// SPDX-License-Identifier: LGPL-2.1-or-later
// call - any procedure of any program, with JSON in and out.
#pragma once

#include <string>
#include <vector>

#include "ctl/tools/target.h"

namespace virtgate::ctl::tools {

struct CallOrder {
    Target target;
    std::string name;                  // PROGRAM.PROCEDURE; of listing, PROGRAM or empty
    std::string arguments;             // JSON, "-", "@FILE", or empty for {}
    std::vector<std::string> schemas;  // .schema files
    std::string programs;              // directory like programs.d; empty: this machine's
    std::string socket;                // a UNIX socket instead of the URI
    std::string stream;                // where the data of a stream go, or come from; empty: not given
    unsigned seconds = 0;              // until the answer has to be there; 0: no limit
    bool raw = false, listing = false, describing = false, json = false;
};

// Does it. The result is an exit status (outcome.h); what went wrong has been said on standard error.
[[nodiscard]] int run_call(const CallOrder& order);

}  // namespace virtgate::ctl::tools
