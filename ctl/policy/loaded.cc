// SPDX-License-Identifier: LGPL-2.1-or-later
// loaded - a policy as the daemon would have it.
#include "ctl/policy/loaded.h"

#include <utility>

#include "policy/compiler.h"

namespace virtgate::ctl::policy {

Loaded load(const std::vector<std::string>& directories) {
    Loaded loaded;
    auto made = virtgate::policy::compile_with_source(directories, loaded.complaints);
    loaded.table = virtgate::policy::Table(std::move(made.table));
    loaded.source = std::move(made.source);
    loaded.files = std::move(made.files);
    return loaded;
}

}  // namespace virtgate::ctl::policy
