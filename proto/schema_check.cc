// SPDX-License-Identifier: LGPL-2.1-or-later
// schema_check - verify every row of a schema.
//
// What the interpreter takes for granted is checked here: indexes name existing rows, parts come before wholes (so
// there is no recursion and the depth is known), nothing is empty, and skipped types have the size they claim.
#include "proto/schema_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace virtgate::proto {

namespace {

using layout::Column;
using layout::Kind;
using layout::Section;

constexpr std::uint64_t k_huge = 0xffffffff;

class SchemaCheck {
public:
    SchemaCheck(const Schema& schema, std::uint32_t text_size) : schema_(schema), text_size_(text_size) {}

    std::string run() {
        const std::uint32_t types = schema_.type_count();
        if (types > layout::k_type_mask) return "too many types";
        depths_.resize(types);
        for (TypeIndex i = 0; i < types; ++i)
            if (!check_type(i)) return fmt::format("type {} is wrong", i);
        for (std::uint32_t i = 0; i < schema_.count(Section::members); ++i)
            if (!is_text(schema_.row(Section::members, i)[1])) return fmt::format("member {} is wrong", i);
        for (std::uint32_t i = 0; i < schema_.count(Section::tests); ++i)
            if (!check_test(schema_.row(Section::tests, i))) return fmt::format("test {} is wrong", i);
        for (std::uint32_t i = 0; i < schema_.count(Section::rules); ++i)
            if (!check_rule(schema_.row(Section::rules, i))) return fmt::format("rule {} is wrong", i);
        for (std::uint32_t i = 0; i < schema_.count(Section::objects); ++i)
            if (!check_object(schema_.row(Section::objects, i))) return fmt::format("object {} is wrong", i);
        for (std::uint32_t i = 0; i < schema_.count(Section::procedures); ++i)
            if (!check_procedure(schema_.row(Section::procedures, i)))
                return fmt::format("procedure row {} is wrong", i);
        if (schema_.count(Section::programs) > layout::k_versions_max) return "too many versions of the program";
        for (std::uint32_t i = 0; i < schema_.count(Section::programs); ++i)
            if (!check_program(i)) return fmt::format("program {} is wrong", i);
        return {};
    }

private:
    [[nodiscard]] bool is_text(std::uint32_t offset) const { return offset < text_size_; }

    [[nodiscard]] bool within(Section section, std::uint32_t first, std::uint32_t count) const {
        return std::uint64_t{first} + count <= schema_.count(section);
    }

    // A type that comes before type `whole`.
    [[nodiscard]] static bool is_part(std::uint32_t part, TypeIndex whole) { return part < whole; }

    [[nodiscard]] std::uint64_t least(TypeIndex type) const { return schema_.row(Section::types, type)[1]; }
    [[nodiscard]] std::uint64_t most(TypeIndex type) const { return schema_.row(Section::types, type)[2]; }
    [[nodiscard]] bool plain(TypeIndex type) const {
        return (schema_.row(Section::types, type)[0] & layout::k_plain) != 0;
    }
    [[nodiscard]] Kind kind(TypeIndex type) const {
        return static_cast<Kind>(schema_.row(Section::types, type)[0] & 0xff);
    }

    // The row's sizes and plain flag are as computed.
    static bool agrees(const std::uint32_t* row, std::uint64_t least, std::uint64_t most, bool plain) {
        return row[1] == std::min(least, k_huge) && row[2] == std::min(most, k_huge) &&
               ((row[0] & layout::k_plain) != 0) == plain && least <= k_huge;
    }

    bool check_type(TypeIndex type) {
        const std::uint32_t* row = schema_.row(Section::types, type);
        if ((row[0] & 0xff) >= layout::k_kinds || !is_text(row[7])) return false;
        depths_[type] = 0;
        const bool ranged = (row[0] & layout::k_ranged) != 0;
        const auto padded = [](std::uint64_t size) { return (size + 3) / 4 * 4; };
        switch (static_cast<Kind>(row[0] & 0xff)) {
            case Kind::i32:
            case Kind::u32: return agrees(row, 4, 4, !ranged);
            case Kind::i64:
            case Kind::u64: return agrees(row, 8, 8, !ranged);
            case Kind::f32: return agrees(row, 4, 4, true);
            case Kind::f64: return agrees(row, 8, 8, true);
            case Kind::boolean:
            case Kind::character:
            case Kind::u8:
            case Kind::i16:
            case Kind::u16: return agrees(row, 4, 4, false);
            case Kind::enumeration:
                return within(Section::members, row[3], row[4]) &&
                       agrees(row, 4, 4, (row[0] & layout::k_closed) == 0);
            case Kind::fixed_opaque:
                return row[3] != 0 && row[3] < k_huge - 7 &&
                       agrees(row, padded(row[3]), padded(row[3]), row[3] % 4 == 0);
            case Kind::opaque:
            case Kind::string:
            case Kind::name: return row[3] < k_huge - 7 && agrees(row, 4, 4 + padded(row[3]), false);
            case Kind::structure: return check_structure(type, row);
            case Kind::choice: return check_choice(type, row);
            case Kind::optional:
                return is_part(row[3], type) && deepen(type, row[3], 0) &&
                       agrees(row, 4, 4 + most(row[3]), false);
            case Kind::array:
                return is_part(row[3], type) && deepen(type, row[3], 1) && row[4] < k_huge - 7 &&
                       agrees(row, 4, 4 + std::min(row[4] * most(row[3]), k_huge), false);
            case Kind::fixed_array:
                return is_part(row[3], type) && deepen(type, row[3], 1) && row[4] != 0 &&
                       agrees(row, row[4] * least(row[3]), row[4] * most(row[3]), plain(row[3]));
        }
        return false;
    }

    bool deepen(TypeIndex type, TypeIndex part, std::uint32_t frames) {
        depths_[type] = std::max(depths_[type], depths_[part] + frames);
        return depths_[type] <= k_depth_max;
    }

    bool check_structure(TypeIndex type, const std::uint32_t* row) {
        if (row[4] == 0 || !within(Section::fields, row[3], row[4]) ||
            !within(Section::relations, row[5], row[6]))
            return false;
        std::uint64_t smallest = 0, largest = 0;
        bool all_plain = row[6] == 0;
        std::uint32_t widths[layout::k_marks + 1] = {};  // by mark, 0 if it is not set or cannot be a factor
        for (std::uint32_t i = 0; i < row[4]; ++i) {
            const std::uint32_t* field = schema_.row(Section::fields, row[3] + i);
            const TypeIndex part = field[0] & layout::k_type_mask;
            const std::uint32_t mark = field[0] >> 24;
            if (!is_part(part, type) || mark > layout::k_marks || !is_text(field[1]) ||
                !deepen(type, part, 1))
                return false;
            const Kind of = kind(part);
            if (mark != 0)
                widths[mark] = of == Kind::i64 || of == Kind::u64                           ? 8
                               : of <= Kind::u32 || of == Kind::array || of == Kind::opaque ? 4
                                                                                            : 0;
            smallest = std::min(smallest + least(part), k_huge);
            largest = std::min(largest + most(part), k_huge);
            all_plain = all_plain && plain(part);
        }
        for (std::uint32_t i = 0; i < row[6]; ++i) {
            const std::uint32_t* relation = schema_.row(Section::relations, row[5] + i);
            const std::uint32_t a = relation[1], b = relation[2];
            if (relation[0] > 1 || a == 0 || b == 0 || a > layout::k_marks || b > layout::k_marks)
                return false;
            if (widths[a] == 0 || widths[b] == 0 || relation[3] != (widths[a] | widths[b] << 8)) return false;
        }
        return agrees(row, smallest, largest, all_plain);
    }

    bool check_choice(TypeIndex type, const std::uint32_t* row) {
        if (!is_part(row[3], type) || !within(Section::arms, row[4], row[5])) return false;
        const Kind discriminant = kind(row[3]);
        if (discriminant != Kind::i32 && discriminant != Kind::u32 && discriminant != Kind::boolean &&
            discriminant != Kind::enumeration)
            return false;
        std::uint64_t smallest = k_huge, largest = 0;
        const auto add = [&](TypeIndex part) {
            if (part != k_void && (!is_part(part, type) || !deepen(type, part, 0))) return false;
            smallest = std::min(smallest, part == k_void ? 0 : least(part));
            largest = std::max(largest, part == k_void ? 0 : most(part));
            return true;
        };
        for (std::uint32_t i = 0; i < row[5]; ++i) {
            const std::uint32_t* arm = schema_.row(Section::arms, row[4] + i);
            const bool in_order = arm[0] == schema_.row(Section::arms, row[4])[0] + i;
            if (!add(arm[1]) || !is_text(arm[2]) || ((row[0] & layout::k_dense) != 0 && !in_order))
                return false;
        }
        if (row[6] != layout::k_no_default && !add(row[6])) return false;
        if ((row[5] == 0 && row[6] == layout::k_no_default) ||
            (row[5] == 0 && (row[0] & layout::k_dense) != 0))
            return false;
        return agrees(row, 4 + smallest, 4 + largest, false);
    }

    [[nodiscard]] bool check_test(const std::uint32_t* row) const {
        return is_text(row[0]) && row[1] <= 2 && within(Section::steps, row[4], row[5]);
    }

    [[nodiscard]] bool check_rule(const std::uint32_t* row) const {
        return is_text(row[0]) && is_text(row[1]) && within(Section::tests, row[2], row[3]);
    }

    [[nodiscard]] bool check_object(const std::uint32_t* row) const {
        return is_text(row[0]) && is_text(row[1]) && is_text(row[2]) && is_text(row[3]) &&
               within(Section::steps, row[5], row[6]);
    }

    [[nodiscard]] bool check_procedure(const std::uint32_t* row) const {
        const auto at = [&](Column column) { return row[static_cast<std::size_t>(column)]; };
        const auto is_type = [&](std::uint32_t type) {
            return type == k_void || type < schema_.type_count();
        };
        for (const Column column :
             {Column::name, Column::event_family, Column::driver, Column::since, Column::prose})
            if (!is_text(at(column))) return false;
        const std::uint32_t fds = at(Column::fds);
        const bool descriptors = (fds & 0xff) <= (fds >> 8 & 0xff) && (fds >> 8 & 0xff) <= 32 &&
                                 (fds >> 16 & 0xff) <= fds >> 24 && fds >> 24 <= 32;
        return at(Column::number) <= 0xffff && at(Column::kind) <= 1 && is_type(at(Column::args)) &&
               is_type(at(Column::ret)) && at(Column::stream) <= 2 && descriptors &&
               at(Column::readonly) <= 2 && at(Column::event_style) <= 2 &&
               at(Column::args_most) == size_of(at(Column::args)) &&
               at(Column::ret_most) == size_of(at(Column::ret)) &&
               within(Section::tests, at(Column::readonly_tests), at(Column::readonly_test_count)) &&
               within(Section::rules, at(Column::rules), at(Column::rule_count)) &&
               within(Section::rules, at(Column::filters), at(Column::filter_count)) &&
               within(Section::objects, at(Column::objects), at(Column::object_count)) &&
               within(Section::objects, at(Column::returns), at(Column::return_count)) &&
               within(Section::objects, at(Column::keys), at(Column::key_count));
    }

    [[nodiscard]] std::uint64_t size_of(TypeIndex type) const { return type == k_void ? 0 : most(type); }

    // Procedures are in the order of their numbers, each number once.
    // Several are versions of one program, the newest first.
    [[nodiscard]] bool check_program(std::uint32_t number) const {
        const std::uint32_t* row = schema_.row(Section::programs, number);
        if (number != 0) {
            const std::uint32_t* newer = schema_.row(Section::programs, number - 1);
            if (row[0] != newer[0] || row[1] >= newer[1] || row[2] != newer[2]) return false;
        }
        if (!is_text(row[2]) || !within(Section::procedures, row[3], row[4])) return false;
        for (std::uint32_t i = 1; i < row[4]; ++i)
            if (schema_.row(Section::procedures, row[3] + i)[0] <=
                schema_.row(Section::procedures, row[3] + i - 1)[0])
                return false;
        return true;
    }

    const Schema& schema_;
    std::uint32_t text_size_;
    std::vector<std::uint32_t> depths_;  // frames that a value of each type needs
};

}  // namespace

std::string check_schema(const Schema& schema, std::uint32_t text_size) {
    return SchemaCheck(schema, text_size).run();
}

}  // namespace virtgate::proto
