// SPDX-License-Identifier: LGPL-2.1-or-later
// random_payload - valid payloads of any type, made from its schema.
//
// The same seed gives the same payloads. Bounds are visited more often than chance would: empty and full strings,
// empty arrays, the ends of ranges.
// Limits: strings and arrays stay short unless their bound is small; a payload is a few KiB at most.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "proto/schema.h"

namespace virtgate::test {

using Random = std::mt19937_64;

// canonical: as our encoder writes it. sloppy: also what real clients may send: non-zero padding, any non-zero word
// as true, and noise in the upper bits of char and short.
enum class Style { canonical, sloppy };

// A payload of `type`, or nothing if no attempt met the type's relations (products, equal lengths).
[[nodiscard]] std::optional<std::vector<std::byte>> random_payload(const proto::Schema& schema,
                                                                   proto::TypeIndex type, Random& random,
                                                                   Style style = Style::canonical);

}  // namespace virtgate::test
