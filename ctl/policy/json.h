// SPDX-License-Identifier: LGPL-2.1-or-later
// json - what "virtgate policy ... --json" prints: one document, indented, with keys in the order of the
// manual page.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "policy/complaints.h"

namespace virtgate::ctl::policy {

using Json = nlohmann::ordered_json;

// The document as text, with a newline. Bytes that are not UTF-8 become U+FFFD: names may be anything.
[[nodiscard]] std::string to_text(const Json& document);

// {"file": TEXT, "line": NUMBER, "column": NUMBER}; without what is not known (0).
[[nodiscard]] Json to_json(const virtgate::policy::Place& place);

}  // namespace virtgate::ctl::policy
