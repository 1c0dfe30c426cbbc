// SPDX-License-Identifier: LGPL-2.1-or-later
// rows - the rows of a schema with names for their columns (proto/schema_layout.h). Internal.
//
// Owns: nothing. All of it lives as long as the Schema.
#pragma once

#include <string_view>

#include "proto/schema.h"

namespace virtgate::reflect {

namespace layout = proto::layout;
using layout::Kind;
using layout::Section;

// The NaN that is only "nan", and the arm whose integer is true or false.
inline constexpr std::uint64_t k_nan = 0x7ff8000000000000;
inline constexpr std::string_view k_boolean = "boolean";

class TypeRow {
public:
    TypeRow(const proto::Schema& schema, proto::TypeIndex type) : row_(schema.row(Section::types, type)) {}
    [[nodiscard]] Kind kind() const noexcept { return static_cast<Kind>(row_[0] & 0xff); }
    [[nodiscard]] bool has(std::uint32_t flag) const noexcept { return (row_[0] & flag) != 0; }
    [[nodiscard]] std::uint32_t parameter(std::uint32_t which) const noexcept { return row_[3 + which]; }
    [[nodiscard]] std::uint64_t wide(std::uint32_t which) const noexcept {
        return std::uint64_t{row_[3 + which]} << 32 | row_[4 + which];
    }
    [[nodiscard]] std::uint32_t name() const noexcept { return row_[7]; }  // for Schema::text()

private:
    const std::uint32_t* row_;
};

class FieldRow {
public:
    FieldRow(const proto::Schema& schema, const TypeRow& structure, std::uint32_t number)
        : schema_(schema), row_(schema.row(Section::fields, structure.parameter(0) + number)) {}
    [[nodiscard]] proto::TypeIndex type() const noexcept { return row_[0] & layout::k_type_mask; }
    [[nodiscard]] std::string_view name() const noexcept { return schema_.text(row_[1]); }
    [[nodiscard]] bool is_flags() const noexcept { return (row_[2] & layout::k_field_flags) != 0; }

private:
    const proto::Schema& schema_;
    const std::uint32_t* row_;
};

// What follows a discriminant. `number`: the row of Section::arms, k_none for the default.
struct Arm {
    bool exists = false;
    std::uint32_t number = layout::k_none;
    proto::TypeIndex type = proto::k_void;
};
[[nodiscard]] inline Arm find_arm(const proto::Schema& schema, const TypeRow& choice, std::uint32_t value) {
    for (std::uint32_t i = 0; i < choice.parameter(2); ++i) {
        const std::uint32_t* arm = schema.row(Section::arms, choice.parameter(1) + i);
        if (arm[0] == value) return {true, choice.parameter(1) + i, arm[1]};
    }
    if (choice.parameter(3) == layout::k_no_default) return {};
    return {true, layout::k_none, choice.parameter(3)};
}

}  // namespace virtgate::reflect
