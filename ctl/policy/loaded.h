// SPDX-License-Identifier: LGPL-2.1-or-later
// loaded - a policy as the daemon would have it, compiled here from its files.
//
// Trust:  the files are the administrator's; the same rules about owners hold as in the daemon.
// Owns:   the table, the texts and what was read from them.
#pragma once

#include <string>
#include <vector>

#include "policy/complaints.h"
#include "policy/files.h"
#include "policy/source.h"
#include "policy/table.h"

namespace virtgate::ctl::policy {

struct Loaded {
    virtgate::policy::Table table{};
    virtgate::policy::Source source{};  // where everything is written
    std::vector<virtgate::policy::PolicyFile> files{};
    virtgate::policy::Complaints complaints{};
};

// Compiles the files in `directories`, later ones before earlier ones.
[[nodiscard]] Loaded load(const std::vector<std::string>& directories);

}  // namespace virtgate::ctl::policy
