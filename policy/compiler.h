// SPDX-License-Identifier: LGPL-2.1-or-later
// compiler - from directories of policy files to the compiled table: files, parse and resolve in a row.
#pragma once

#include "policy/complaints.h"
#include "policy/files.h"
#include "policy/source.h"
#include "proto/policy.h"

namespace virtgate::policy {

// The table of the files in `directories`. If `complaints` has errors afterwards, it must not be used.
[[nodiscard]] proto::policy::PolicyTable compile(const std::vector<std::string>& directories,
                                                 Complaints& complaints);

// The same, with what the table was made of: for tools that show where something is written.
struct Compilation {
    std::vector<PolicyFile> files{};
    Source source{};
    proto::policy::PolicyTable table{};
};
[[nodiscard]] Compilation compile_with_source(const std::vector<std::string>& directories,
                                              Complaints& complaints);

}  // namespace virtgate::policy
