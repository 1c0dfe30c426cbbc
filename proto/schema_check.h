// SPDX-License-Identifier: LGPL-2.1-or-later
// schema_check - verify every row of a schema, so that its users need not.
#pragma once

#include <cstdint>
#include <string>

#include "proto/schema.h"

namespace virtgate::proto {

// One sentence about the first row that is wrong, or nothing. The sections have been found to lie within the words.
[[nodiscard]] std::string check_schema(const Schema& schema, std::uint32_t text_size);

}  // namespace virtgate::proto
