// SPDX-License-Identifier: LGPL-2.1-or-later
// outlet - a place that records go to.
#pragma once

#include <string>

#include "libshared/base/result.h"
#include "workerd/auditor/record.h"

namespace virtgate::workerd::auditor {

class Outlet {
public:
    virtual ~Outlet() = default;

    // Writes the record, without waiting for anybody. If it cannot be written at once, it is lost here; the caller
    // counts. Error: system's fault.
    [[nodiscard]] virtual Done put(const Record& record) = 0;

    // For messages: "/var/log/virtgate/audit.jsonl", "the journal".
    [[nodiscard]] virtual const std::string& name() const noexcept = 0;

    // Opens anew what has a name in the file system. Error: system's fault; what was open stays so.
    [[nodiscard]] virtual Done reopen() = 0;
};

}  // namespace virtgate::workerd::auditor
