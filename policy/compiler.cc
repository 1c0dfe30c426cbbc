// SPDX-License-Identifier: LGPL-2.1-or-later
// compiler - from directories of policy files to the compiled table.
#include "policy/compiler.h"

#include "policy/parse.h"
#include "policy/resolve.h"

namespace virtgate::policy {

Compilation compile_with_source(const std::vector<std::string>& directories, Complaints& complaints) {
    Compilation made;
    made.files = read_files(directories, complaints);
    for (const PolicyFile& file : made.files) parse_file(file.text, file.path, made.source, complaints);
    if (made.files.empty())
        complaints.warning({.file = directories.empty() ? std::string("policy") : directories.back()},
                           "there is no policy file: nobody may do anything");
    made.table = resolve(made.source, complaints);
    return made;
}

proto::policy::PolicyTable compile(const std::vector<std::string>& directories, Complaints& complaints) {
    return compile_with_source(directories, complaints).table;
}

}  // namespace virtgate::policy
