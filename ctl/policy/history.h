// SPDX-License-Identifier: LGPL-2.1-or-later
// history - calls in the auditor's records, as questions to a policy.
//
// Trust:  see ctl/audit/entry.h: names are clients' and have to be escaped before anybody sees them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ctl/audit/reader.h"
#include "ctl/policy/request.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::policy {

// A record, with the line that it was read from.
struct PastRecord {
    audit::Entry entry{};
    std::string line{};
};

// Where the daemon writes its records unless it is told otherwise.
[[nodiscard]] std::string default_audit_file();

// The records of refusals in the file `path` that are nearest to `at`: those of the minute around it, the
// nearest first and at most `most`; if there is none, the one that is nearest. Empty if nothing at all was
// refused. With `filter.identity` the refusals of that identity, else also those of clients that are none.
// Error: system's fault, the file cannot be read.
[[nodiscard]] Result<std::vector<PastRecord>> find_refusals(const std::string& path,
                                                            const audit::Filter& filter, audit::Moment at,
                                                            std::size_t most);

// The call that the record is about. Error: peer's fault: it is about something else, or about a procedure or
// a kind of object that this version does not know.
[[nodiscard]] Result<Request> request_of(const audit::Entry& entry);

// What the record says in a few lines, escaped.
[[nodiscard]] std::string describe(const audit::Entry& entry, audit::Moment now);

}  // namespace virtgate::ctl::policy
