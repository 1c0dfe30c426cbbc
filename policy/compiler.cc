// SPDX-License-Identifier: LGPL-2.1-or-later
// compiler - from directories of policy files to the compiled table.
#include "policy/compiler.h"

#include "policy/files.h"
#include "policy/parse.h"
#include "policy/resolve.h"

namespace virtgate::policy {

proto::policy::PolicyTable compile(const std::vector<std::string>& directories, Complaints& complaints) {
    Source source;
    const std::vector<PolicyFile> files = read_files(directories, complaints);
    for (const PolicyFile& file : files) parse_file(file.text, file.path, source, complaints);
    if (files.empty())
        complaints.warning({.file = directories.empty() ? std::string("policy") : directories.back()},
                           "there is no policy file: nobody may do anything");
    return resolve(source, complaints);
}

}  // namespace virtgate::policy
