// SPDX-License-Identifier: LGPL-2.1-or-later
// locate - find a value inside a payload that passed validate().
//
// The parts before the wanted one are stepped over with a walk that checks nothing but the end of the payload: a bug
// elsewhere must not become an access out of bounds here.
#include <algorithm>

#include "libshared/base/bytes.h"
#include "proto/schema.h"

namespace virtgate::proto {

namespace {

using layout::Kind;
using layout::Section;

// Optionals and unions count here too.
constexpr std::uint32_t k_recursion_max = 4 * k_depth_max;

class Finder {
public:
    Finder(const Schema& schema, std::span<const std::byte> payload) noexcept
        : schema_(schema), payload_(payload) {}

    Found run(TypeIndex type, std::span<const std::uint32_t> steps,
              std::span<const std::uint32_t> elements) noexcept {
        for (const std::uint32_t step : steps) {
            if (!pass_optionals(type)) return {};
            const std::uint32_t* row = type_row(type);
            if (step == layout::k_each) {
                if (elements.empty() || !enter_element(row, elements.front())) return {};
                elements = elements.subspan(1);
                type = row[3];
            } else {
                if (static_cast<Kind>(row[0] & 0xff) != Kind::structure || step >= row[4]) return {};
                for (std::uint32_t i = 0; i < step; ++i)
                    if (!skip(field_type(row, i), k_recursion_max)) return {};
                type = field_type(row, step);
            }
        }
        if (!pass_optionals(type)) return {};
        return {true, static_cast<std::uint32_t>(at_), type};
    }

    std::uint32_t end_of(TypeIndex type, std::uint32_t offset) noexcept {
        at_ = offset;
        return skip(type, k_recursion_max) ? static_cast<std::uint32_t>(at_) : k_no_end;
    }

private:
    [[nodiscard]] const std::uint32_t* type_row(TypeIndex type) const noexcept {
        return schema_.row(Section::types, type);
    }

    [[nodiscard]] TypeIndex field_type(const std::uint32_t* row, std::uint32_t field) const noexcept {
        return schema_.row(Section::fields, row[3] + field)[0] & layout::k_type_mask;
    }

    bool word(std::uint32_t& value) noexcept {
        if (payload_.size() - at_ < 4) return false;
        value = load_be32(payload_.data() + at_);
        at_ += 4;
        return true;
    }

    bool forward(std::size_t size) noexcept {
        if (payload_.size() - at_ < size) return false;
        at_ += size;
        return true;
    }

    // Passes the words of optionals; false if one is absent.
    bool pass_optionals(TypeIndex& type) noexcept {
        while (static_cast<Kind>(type_row(type)[0] & 0xff) == Kind::optional) {
            std::uint32_t there = 0;
            if (!word(there) || there == 0) return false;
            type = type_row(type)[3];
        }
        return true;
    }

    bool enter_element(const std::uint32_t* row, std::uint32_t element) noexcept {
        std::uint32_t elements = row[4];
        const auto kind = static_cast<Kind>(row[0] & 0xff);
        if (kind != Kind::fixed_array && (kind != Kind::array || !word(elements))) return false;
        return element < elements && skip_many(row[3], element, k_recursion_max);
    }

    bool skip_many(TypeIndex type, std::uint32_t count, std::uint32_t depth) noexcept {
        const std::uint32_t* row = type_row(type);
        if ((row[0] & layout::k_plain) != 0) return forward(std::size_t{count} * row[1]);
        for (std::uint32_t i = 0; i < count; ++i)
            if (!skip(type, depth)) return false;
        return true;
    }

    // The recursion ends because a part's number is lower than its whole's; `depth` guards against a wrong schema.
    bool skip(TypeIndex type, std::uint32_t depth) noexcept {
        const std::uint32_t* row = type_row(type);
        if (row[1] == row[2]) return forward(row[1]);
        if (depth == 0) return false;
        std::uint32_t value = 0;
        switch (static_cast<Kind>(row[0] & 0xff)) {
            case Kind::opaque:
            case Kind::string:
            case Kind::name: return word(value) && forward((std::size_t{value} + 3) / 4 * 4);
            case Kind::structure:
                for (std::uint32_t i = 0; i < row[4]; ++i)
                    if (!skip(field_type(row, i), depth - 1)) return false;
                return true;
            case Kind::choice: return word(value) && skip_arm(row, value, depth);
            case Kind::optional: return word(value) && (value == 0 || skip(row[3], depth - 1));
            case Kind::array: return word(value) && skip_many(row[3], value, depth - 1);
            case Kind::fixed_array: return skip_many(row[3], row[4], depth - 1);
            default: return forward(row[1]);
        }
    }

    bool skip_arm(const std::uint32_t* row, std::uint32_t value, std::uint32_t depth) noexcept {
        TypeIndex type = row[6];
        for (std::uint32_t i = 0; i < row[5]; ++i) {
            const std::uint32_t* arm = schema_.row(Section::arms, row[4] + i);
            if (arm[0] == value) {
                type = arm[1];
                break;
            }
        }
        if (type == layout::k_no_default) return false;
        return type == k_void || skip(type, depth - 1);
    }

    const Schema& schema_;
    std::span<const std::byte> payload_;
    std::size_t at_ = 0;
};

}  // namespace

Found locate(const Schema& schema, TypeIndex type, std::span<const std::byte> payload,
             std::span<const std::uint32_t> steps, std::span<const std::uint32_t> elements) noexcept {
    if (type >= schema.type_count() || payload.size() > 0xfffffff0) return {};
    return Finder(schema, payload).run(type, steps, elements);
}

std::uint32_t end_of(const Schema& schema, TypeIndex type, std::span<const std::byte> payload,
                     std::uint32_t offset) noexcept {
    if (type >= schema.type_count() || payload.size() > 0xfffffff0 || offset > payload.size())
        return k_no_end;
    return Finder(schema, payload).end_of(type, offset);
}

}  // namespace virtgate::proto
