// SPDX-License-Identifier: LGPL-2.1-or-later
// group_listing - the built-in groups of procedures, and what is in one.
#pragma once

#include <string>
#include <string_view>

#include "libshared/base/result.h"

namespace virtgate::ctl::policy {

// Every group and how many procedures it has. JSON: {"groups": [{"group", "procedures": NUMBER}]}.
[[nodiscard]] std::string list_groups(bool json);

// The procedures of the group `name` ("@lifecycle"), each with the flags with which it is not in the group
// and with the remark of the reviewed list. JSON: {"group", "procedures": [{"procedure", "without",
// "remark"}]}. Error: peer's fault, there is no such group.
[[nodiscard]] Result<std::string> list_group(std::string_view name, bool json);

}  // namespace virtgate::ctl::policy
