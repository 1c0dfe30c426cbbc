// SPDX-License-Identifier: LGPL-2.1-or-later
// parse - read one policy file into a Source.
//
//     version = 1
//     [identity.alice]                                # see parse_identity.h
//     x509 = { CN = "alice", O = "glob:Acme*" }
//     [role.operator]                                 # this and the rest: see parse_grant.h
//     allow = ["@lifecycle"]
//     [[binding]]
//     identity = "alice"                              # or a list
//     role = "operator"                               # or a list
//     objects = { domain = ["glob:web-*"] }
//
// Trust:  files belong to the administrator. They may be wrong, and everything wrong in them is reported.
// Limits: names of 1..64 letters, digits and -_. ; those of proto/policy.x.
#pragma once

#include <string_view>

#include "policy/source.h"

namespace virtgate::policy {

inline constexpr std::size_t k_name_max = 64;

// Adds what `text` says to `source`, and what is wrong with it to `complaints`. `file` is its name in both.
void parse_file(std::string_view text, const std::string& file, Source& source, Complaints& complaints);

}  // namespace virtgate::policy
