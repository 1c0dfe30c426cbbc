// SPDX-License-Identifier: LGPL-2.1-or-later
// json - what "virtgate policy ... --json" prints.
#include "ctl/policy/json.h"

#include <nlohmann/json.hpp>

namespace virtgate::ctl::policy {

std::string to_text(const Json& document) {
    return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json to_json(const virtgate::policy::Place& place) {
    Json json = Json::object();
    if (!place.file.empty()) json["file"] = place.file;
    if (place.line != 0) json["line"] = place.line;
    if (place.column != 0) json["column"] = place.column;
    return json;
}

}  // namespace virtgate::ctl::policy
