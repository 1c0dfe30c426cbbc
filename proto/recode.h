// SPDX-License-Identifier: LGPL-2.1-or-later
// recode - decode a payload as a type and encode it again, for tests and fuzzers.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "proto/codec.h"

namespace virtgate::proto {

// Appends the canonical form of `in` to `out`. Returns why that is impossible, or Flaw::none.
using Recode = xdr::Flaw (*)(std::span<const std::byte> in, std::vector<std::byte>& out);

template <class T>
[[nodiscard]] xdr::Flaw recode(std::span<const std::byte> in, std::vector<std::byte>& out) {
    xdr::Reader reader(in);
    T value;
    value.decode(reader);
    if (const xdr::Flaw flaw = reader.close(); flaw != xdr::Flaw::none) return flaw;
    xdr::Writer writer(out, in.size());
    value.encode(writer);
    return writer.flaw();
}

}  // namespace virtgate::proto
