// SPDX-License-Identifier: LGPL-2.1-or-later
// loaded - a policy as the daemon would have it, compiled here from its files.
//
// Trust:  the files are the administrator's; the same rules about owners hold as in the daemon.
// Owns:   the table.
#pragma once

#include <string>
#include <vector>

#include "policy/complaints.h"
#include "policy/table.h"

namespace virtgate::ctl::policy {

struct Loaded {
    virtgate::policy::Table table{};
    virtgate::policy::Complaints complaints{};
};

// Compiles the files in `directories`, later ones before earlier ones.
[[nodiscard]] Loaded load(const std::vector<std::string>& directories);

// All complaints, one per line, or as a JSON array of objects with level and text.
[[nodiscard]] std::string say_complaints(const virtgate::policy::Complaints& complaints, bool json);

}  // namespace virtgate::ctl::policy
