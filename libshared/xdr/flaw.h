// SPDX-License-Identifier: LGPL-2.1-or-later
// flaw - what can be wrong with bytes that claim to be XDR, or with a value that is to become XDR.
//
// One list for the reader, the writer, the generated codecs and the schema interpreter, so that a refusal has the
// same name wherever it is found.
#pragma once

#include <cstdint>
#include <string_view>

namespace virtgate::xdr {

enum class Flaw : std::uint8_t {
    none,               // nothing is wrong
    truncated,          // the bytes end before the value does
    trailing_bytes,     // the value ends before the bytes do
    string_too_long,    // a string or opaque is longer than its type allows
    array_too_long,     // an array has more elements than its type allows
    nul_in_string,      // a string holds a NUL byte, at which C code would cut it
    control_in_name,    // the name of an object holds a byte 0x01..0x1f or 0x7f
    out_of_range,       // an integer is outside the range that its field declares
    product_too_large,  // two fields multiply to more than their structure allows
    lengths_differ,     // two arrays that belong together differ in length
    bad_union,          // a union's discriminant selects no arm
    bad_enum,           // a closed enumeration does not list the value
    no_room,            // the writer's limit is reached
    bad_schema,         // the schema has no such type
};

inline constexpr std::uint8_t k_flaw_count = 14;

// One lower-case sentence part for a log line or an RPC error, such as "string longer than its limit".
[[nodiscard]] std::string_view to_text(Flaw flaw) noexcept;

}  // namespace virtgate::xdr
