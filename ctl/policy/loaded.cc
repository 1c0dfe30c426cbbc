// SPDX-License-Identifier: LGPL-2.1-or-later
// loaded - a policy as the daemon would have it.
#include "ctl/policy/loaded.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "policy/compiler.h"

namespace virtgate::ctl::policy {

Loaded load(const std::vector<std::string>& directories) {
    Loaded loaded;
    loaded.table = virtgate::policy::Table(virtgate::policy::compile(directories, loaded.complaints));
    return loaded;
}

std::string say_complaints(const virtgate::policy::Complaints& complaints, bool json) {
    std::string text;
    auto list = nlohmann::ordered_json::array();
    for (const auto& line : complaints.lines()) {
        text += line.text + "\n";
        list.push_back({{"level", line.is_error ? "error" : "warning"}, {"text", line.text}});
    }
    if (!json) return text;
    return list.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace virtgate::ctl::policy
