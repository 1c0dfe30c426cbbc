// SPDX-License-Identifier: LGPL-2.1-or-later
// difference - what a change of the policy changes: effects, not words.
#pragma once

#include <string>

#include "policy/table.h"

namespace virtgate::ctl::policy {

// One line for each identity, procedure and kind of scope that is new ("+") or gone ("-"); empty if there is none:
//   + alice DOMAIN_CREATE on domain=web-*
[[nodiscard]] std::string compare(const virtgate::policy::Table& before,
                                  const virtgate::policy::Table& after);

// The same lines of one identity, without the sign: all that it may do, and what is denied.
[[nodiscard]] std::string show(const virtgate::policy::Table::Rule& rule);

}  // namespace virtgate::ctl::policy
