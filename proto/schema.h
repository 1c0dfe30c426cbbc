// SPDX-License-Identifier: LGPL-2.1-or-later
// schema - what a payload may look like, and the interpreter that checks one.
//
// A Schema is compiled into the program by xdrgen or loaded from an installed .schema file, so that a newer libvirt's
// calls or a custom program need no rebuild. validate() is the front line: everything that a client or a worker sends
// passes it before anybody else looks at the bytes.
//
// Trust:  payloads are hostile. A schema file belongs to root, but load() checks every index and bound all the same.
// Limits: payloads below 4 GiB; types nest at most k_depth_max deep; no recursion, no allocation in validate().
// Owns:   a loaded Schema owns its words and texts; one that views compiled-in words owns nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "libshared/xdr/flaw.h"
#include "proto/schema_layout.h"

namespace virtgate::proto {

class ProgramInfo;  // proto/program.h

using xdr::Flaw;
using xdr::to_text;

// The number of a type in its schema.
using TypeIndex = std::uint32_t;
inline constexpr TypeIndex k_void = layout::k_none;

using layout::k_depth_max;

class Schema {
public:
    // A view of words and texts that xdrgen wrote. They must outlive the Schema.
    [[nodiscard]] static Schema view(std::span<const std::uint32_t> words, std::string_view text);

    // The schema in a .schema file's contents, or one sentence about what is wrong with them.
    [[nodiscard]] static tl::expected<Schema, std::string> load(std::span<const std::byte> file);

    // Nothing, or one sentence about what is wrong. load() has done this; compiled-in schemas pass it in the tests.
    [[nodiscard]] std::string check() const;

    Schema(Schema&&) noexcept = default;
    Schema& operator=(Schema&&) noexcept = default;
    Schema(const Schema&) = delete;
    Schema& operator=(const Schema&) = delete;

    // Raw access for the interpreter and its relatives. `row` < count(section).
    [[nodiscard]] std::uint32_t count(layout::Section section) const noexcept {
        return counts_[static_cast<std::size_t>(section)];
    }
    [[nodiscard]] const std::uint32_t* row(layout::Section section, std::uint32_t row) const noexcept {
        const auto at = static_cast<std::size_t>(section);
        return words_.data() + offsets_[at] + std::size_t{row} * layout::k_row_words[at];
    }
    [[nodiscard]] std::string_view text(std::uint32_t offset) const noexcept;

    [[nodiscard]] std::uint32_t type_count() const noexcept { return count(layout::Section::types); }

    // The structure, union or enumeration of that name, or k_void.
    [[nodiscard]] TypeIndex find_type(std::string_view name) const noexcept;

private:
    Schema() = default;
    [[nodiscard]] std::string open(std::span<const std::uint32_t> words, std::string_view text);

    std::vector<std::uint32_t> owned_words_;
    std::vector<char> owned_text_;
    std::span<const std::uint32_t> words_;
    std::string_view text_;
    std::uint32_t offsets_[layout::k_sections] = {};
    std::uint32_t counts_[layout::k_sections] = {};
};

// Whether all of a payload is at hand, or only its beginning. Of a beginning everything is checked that is there;
// running out of it is Flaw::truncated and says nothing against the payload.
enum class Extent : std::uint8_t { whole, prefix };

struct Verdict {
    Flaw flaw = Flaw::none;
    std::uint32_t offset = 0;  // of the offending word in the payload; without a flaw, where the value ends
    bool rewritten = false;    // bytes were changed to their canonical form
};

// Checks that `payload` is a value of type `type` (k_void: empty) and brings it into canonical form in place:
// padding becomes zero, true becomes 1, and the words of char and short become what the encoder writes. What it
// accepts, the generated decoder accepts and encodes to the same bytes.
// After a flaw the payload may have been rewritten up to the offset.
[[nodiscard]] Verdict validate(const Schema& schema, TypeIndex type, std::span<std::byte> payload,
                               Extent extent) noexcept;

// Where the value lies that `steps` lead to from the start of a value of `type` (see layout::Section::steps), and its
// type. `payload` must have passed validate(). The n-th k_each step takes element elements[n].
struct Found {
    bool present = false;      // false: an optional on the way is absent, or an array is too short
    std::uint32_t offset = 0;  // where the value starts
    TypeIndex type = k_void;   // optionals around the value are passed
};
[[nodiscard]] Found locate(const Schema& schema, TypeIndex type, std::span<const std::byte> payload,
                           std::span<const std::uint32_t> steps,
                           std::span<const std::uint32_t> elements) noexcept;

// Where the value of `type` that starts at `offset` of `payload` ends, or k_no_end if the payload ends first. Like
// locate() it is for payloads that passed validate(), and never leaves one that did not.
inline constexpr std::uint32_t k_no_end = 0xffffffff;
[[nodiscard]] std::uint32_t end_of(const Schema& schema, TypeIndex type, std::span<const std::byte> payload,
                                   std::uint32_t offset) noexcept;

}  // namespace virtgate::proto
