// SPDX-License-Identifier: LGPL-2.1-or-later
// list - what there is at a server: domains, networks, pools, volumes and so on.
#pragma once

#include <string>
#include <vector>

#include "ctl/tools/target.h"

namespace virtgate::ctl::tools {

struct ListOrder {
    Target target;
    std::string kind = "domains";
    std::string pool;  // of volumes; empty: of all active pools
    bool json = false;
};

// The words for `kind`.
[[nodiscard]] std::vector<std::string> list_kinds();

[[nodiscard]] int run_list(const ListOrder& order);

}  // namespace virtgate::ctl::tools
