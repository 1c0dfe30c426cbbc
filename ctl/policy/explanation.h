// SPDX-License-Identifier: LGPL-2.1-or-later
// explanation - why a call is allowed or refused, grant by grant, and what would have to be different.
//
// Trust:  texts of the policy and of the request are escaped.
#pragma once

#include <string>

#include "ctl/policy/request.h"
#include "policy/rights.h"
#include "policy/table.h"

namespace virtgate::ctl::policy {

struct Explanation {
    bool allowed = false;
    std::string text{};  // for people, several lines
    std::string json{};
};

// Of a call by the identity of `rule`, at `listener`.
[[nodiscard]] Explanation explain(const virtgate::policy::Table::Rule& rule, const std::string& listener,
                                  const Request& request);

// The rights of the identity of `rule`, at `listener`.
[[nodiscard]] virtgate::policy::Rights rights_of(const virtgate::policy::Table::Rule& rule,
                                                 const std::string& listener);

}  // namespace virtgate::ctl::policy
