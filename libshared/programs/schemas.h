// SPDX-License-Identifier: LGPL-2.1-or-later
// schemas - how a process gets to know programs of others: from its parent's configuration, never from a file.
#pragma once

#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/base/result.h"

namespace virtgate::programs {

// Knows them from now on (proto::add_programs()): before anything else of the process asks for a program, and before its
// second thread. Error: system's fault, what is wrong with one of them.
[[nodiscard]] Done add_schemas(const std::vector<ByteVector>& schemas);

}  // namespace virtgate::programs
