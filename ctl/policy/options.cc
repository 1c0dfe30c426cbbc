// SPDX-License-Identifier: LGPL-2.1-or-later
// options - what the command line of "virtgate policy" says.
#include "ctl/policy/options.h"

#include <fmt/format.h>

#include <cstdio>

#include "config.h"
#include "ctl/policy/complaint_listing.h"
#include "libshared/base/bytes.h"
#include "libshared/base/suggest.h"

namespace virtgate::ctl::policy {

const std::vector<std::string>& default_directories() {
    static const std::vector<std::string> k_directories{"/usr/lib/virtgate/policy.d",
                                                        VIRTGATE_SYSCONFDIR "/policy.d"};
    return k_directories;
}

std::vector<std::string> Options::chosen_directories() const {
    return directories.empty() ? default_directories() : directories;
}

Result<Loaded> open_policy(const std::vector<std::string>& directories) {
    Loaded loaded = load(directories);
    if (loaded.complaints.errors() == 0) return loaded;
    fmt::print(stderr, "{}", list_complaints(loaded));
    return peer_fault("the policy has errors and would not be used");
}

std::string no_identity(const Loaded& loaded, std::string_view name) {
    std::vector<std::string_view> known;
    for (const auto& rule : loaded.table.rules()) known.push_back(rule.name);
    return fmt::format("there is no identity \"{}\"{}", escape(name, 64), did_you_mean(name, known));
}

}  // namespace virtgate::ctl::policy
