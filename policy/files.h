// SPDX-License-Identifier: LGPL-2.1-or-later
// files - which policy files there are.
//
// The *.toml files of several directories are read in byte order of their names. A file hides those of the
// same name in earlier directories; a link to /dev/null switches them off. Hidden files and what editors and
// package managers leave behind are passed over with a note.
//
// Trust:  a policy file belongs to root or to the user that runs this, and nobody else may write to it; the
//         same holds for its directory. Anything else is an error, not a file less: a missing rule could be a
//         deny.
// Limits: k_files_max files of k_size_max bytes.
#pragma once

#include <string>
#include <vector>

#include "policy/complaints.h"

namespace virtgate::policy {

inline constexpr std::size_t k_files_max = 1024;
inline constexpr std::size_t k_size_max = std::size_t{1} << 20;

struct PolicyFile {
    std::string path{};
    std::string text{};
};

// The files that count, with their contents. What is wrong with files and directories goes to `complaints`. A
// directory that does not exist is like an empty one.
[[nodiscard]] std::vector<PolicyFile> read_files(const std::vector<std::string>& directories,
                                                 Complaints& complaints);

}  // namespace virtgate::policy
