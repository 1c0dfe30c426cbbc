// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what the auditor keeps: its channels, the journal's socket, the directory of its file.
//
// Source: libshared/confine/plan.h has the steps; the calls were observed under load and are compared with what the test
//         suites make (scripts/observed-calls).
#pragma once

#include "libshared/confine/plan.h"

namespace virtgate::workerd::auditor {

// What the auditor keeps. `file`: where records go, made anew after it was renamed; empty if there is none.
[[nodiscard]] confine::Plan make_plan(const std::string& file);

}  // namespace virtgate::workerd::auditor
