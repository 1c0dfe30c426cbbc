// SPDX-License-Identifier: LGPL-2.1-or-later
// payload_json - what a payload says, as JSON, read with nothing but the schema.
//
// Integers, texts, null and objects as one expects; opaque data is {"hex": "..."}; a union is [discriminant, value];
// a char and an enumeration are numbers.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>

#include "proto/schema.h"

namespace virtgate::test {

// `payload` has passed validate().
[[nodiscard]] nlohmann::json payload_json(const proto::Schema& schema, proto::TypeIndex type,
                                          std::span<const std::byte> payload);

}  // namespace virtgate::test
