// SPDX-License-Identifier: LGPL-2.1-or-later
// loaded - a policy as the daemon would have it.
#include "ctl/policy/loaded.h"

#include <utility>

#include "libshared/programs/programs.h"
#include "policy/compiler.h"
#include "proto/programs.h"

namespace virtgate::ctl::policy {

namespace {

// The programs of others that roles can be about are announced beside the policy: /etc/virtgate/programs.d. Once in a process.
void learn_programs(const std::string& policy_directory, virtgate::policy::Complaints& complaints) {
    const auto slash = policy_directory.find_last_not_of('/');
    const auto parent = policy_directory.substr(0, slash + 1).rfind('/');
    const std::string directory =
        (parent == std::string::npos ? std::string(".") : policy_directory.substr(0, parent)) + "/programs.d";
    const auto announced = programs::read_programs(directory);
    if (!announced) return complaints.error({.file = directory}, announced.error().text);
    for (const programs::Announced& one : *announced)
        if (!proto::is_added(one.number))
            if (const auto added = proto::add_programs(one.schema); !added)
                complaints.error({.file = one.file}, added.error());
}

}  // namespace

Loaded load(const std::vector<std::string>& directories) {
    Loaded loaded;
    for (const std::string& directory : directories) learn_programs(directory, loaded.complaints);
    auto made = virtgate::policy::compile_with_source(directories, loaded.complaints);
    loaded.table = virtgate::policy::Table(std::move(made.table));
    loaded.source = std::move(made.source);
    loaded.files = std::move(made.files);
    return loaded;
}

}  // namespace virtgate::ctl::policy
