// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - the report of a plan, as text and as JSON.
#pragma once

#include <string>
#include <vector>

#include "ctl/migrate/plan.h"

namespace virtgate::ctl::migrate {

// What becomes of each setting, by outcome, and the files. `written`: their paths; empty: they were not.
[[nodiscard]] std::string list_plan(const Plan& plan, const std::vector<std::string>& written);
// {"file", "daemon", "findings": [{"key", "value", "line", "column", "outcome", "where", "text"}], "files": [{"path", "text"}],
//  "written": [...]}; outcome is one of "taken", "unneeded", "stays", "open".
[[nodiscard]] std::string plan_to_json(const Plan& plan, const std::vector<std::string>& written);

}  // namespace virtgate::ctl::migrate
