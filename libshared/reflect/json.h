// SPDX-License-Identifier: LGPL-2.1-or-later
// json - payloads as JSON and back, for any type of any schema: nothing has to be generated for it.
//
//     if (auto json = reflect::to_json(program.schema, procedure.ret, reply)) print(json->dump(2));
//     auto payload = reflect::to_payload(program.schema, procedure.args, json, "args");
//
// How a value looks:
//   structure       an object with its fields, in their order
//   optional        the value, or null
//   list            an array
//   enumeration     the name of the value; the number where it has none
//   union           {"type": WORD, "value": …}: WORD is the name of the enumeration's value, or of the arm.
//                   Where the last field of a structure is a union called "value", both are in the
//                   structure's object. So a typed parameter is {"field": "weight", "type": "uint",
//                   "value": 800}, in libvirt's words: int, uint, llong, ullong, double, boolean, string
//   numbers         numbers, 64-bit ones in full. What JSON cannot say of a double is "nan", "inf" or "-inf"
//   text            a string; {"base64": "…"} if it is not UTF-8
//   list of char    the same as text. One of a fixed length has no zero bytes at its end
//   16 bytes        a UUID, as 8-4-4-4-12 hexadecimal digits
//   other bytes     base64
// In the other direction also: an enumeration or a union's type by number, a 64-bit number as a string of
// digits, bytes as {"hex": "…"} or {"text": "…"}, a UUID without hyphens. What may be left out are optionals
// (null) and fields marked as flags (0), and no others.
//
// Pure; any thread.
//
// Trust:  to_json() takes payloads of anybody; they pass validate() first.
// Limits: those of the schema.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "libshared/base/bytes.h"
#include "proto/schema.h"

namespace virtgate::reflect {

using Json = nlohmann::ordered_json;  // objects keep the order of their members

// The value of `type` that all of `payload` is; null for k_void. Error: what validate() has against it.
[[nodiscard]] tl::expected<Json, proto::Verdict> to_json(const proto::Schema& schema, proto::TypeIndex type,
                                                         ByteView payload);

// The payload that `json` describes, which is canonical and passes validate(). `root` names the whole in
// messages. Error: one sentence that begins with the place, such as
// `args.domain.uuid: a UUID is wanted, not a number`. Of k_void: empty, for null and for {}.
[[nodiscard]] tl::expected<ByteVector, std::string> to_payload(const proto::Schema& schema,
                                                               proto::TypeIndex type, const Json& json,
                                                               std::string_view root);

// JSON in a text. Error: where and why it is none.
[[nodiscard]] tl::expected<Json, std::string> parse(std::string_view text);

// As text: on one line, or indented by two for people. Printable ASCII: everything else is \uNNNN.
enum class Layout : unsigned char { line, indented };
[[nodiscard]] std::string print(const Json& json, Layout layout);

// The word for arm number `arm` (a row of Section::arms, or k_none) of a union: what "type" says for it. Empty
// if it has none of its own, and is known by its number.
[[nodiscard]] std::string_view word_of_arm(const proto::Schema& schema, proto::TypeIndex choice,
                                           std::uint32_t arm) noexcept;

// True if the union that is field number `field` of a structure lies flat in the structure's object.
[[nodiscard]] bool lies_flat(const proto::Schema& schema, proto::TypeIndex structure,
                             std::uint32_t field) noexcept;

}  // namespace virtgate::reflect
