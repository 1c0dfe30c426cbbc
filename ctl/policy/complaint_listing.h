// SPDX-License-Identifier: LGPL-2.1-or-later
// complaint_listing - what is wrong with a policy, for people and for programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "ctl/policy/loaded.h"

namespace virtgate::ctl::policy {

// Every complaint as "FILE:LINE:COLUMN: error|warning: TEXT [CODE]", each with an excerpt of the file.
[[nodiscard]] std::string list_complaints(const Loaded& loaded);

// An array of {"level", "code", "file", "line", "column", "text", "suggestion"}; without what there is not.
[[nodiscard]] nlohmann::ordered_json complaints_to_json(const Loaded& loaded);

}  // namespace virtgate::ctl::policy
