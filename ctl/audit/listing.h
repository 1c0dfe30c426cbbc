// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - a record as one line for people, or for programs.
//
// Trust:  names in records are clients' and may hold anything. What is not plainly one word is shown in quotes, with
//         control characters, invisible ones and changes of direction as \xNN: a name can neither move the
//         terminal's cursor nor look like another part of the line.
#pragma once

#include <string>
#include <string_view>

#include "ctl/audit/entry.h"

namespace virtgate::ctl::audit {

// "14:02:11 alice refused DOMAIN_DESTROY domain=db-1: object, role operator at 20-bindings.toml:12", without a newline.
// Times are in this machine's zone, and have a date unless they are of the day of `now`.
[[nodiscard]] std::string describe(const Entry& entry, Moment now);

// The record as it is in the file, and as ASCII: `line` itself, unless somebody but the auditor wrote it.
[[nodiscard]] std::string to_json(std::string_view line);

}  // namespace virtgate::ctl::audit
