// SPDX-License-Identifier: LGPL-2.1-or-later
// types - the list of all types of a run.
#include "proto/xdrgen/types.h"

#include <fmt/format.h>

#include <algorithm>

namespace virtgate::proto::xdrgen {

namespace {

constexpr std::uint32_t k_huge = 0xffffffff;

// Sums and products that stop at 2^32 - 1 instead of wrapping.
std::uint32_t plus(std::uint64_t a, std::uint64_t b) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(a + b, k_huge));
}
std::uint32_t times(std::uint64_t a, std::uint64_t b) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(a * b, k_huge));
}
std::uint32_t padded(std::uint64_t size) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>((size + 3) / 4 * 4, k_huge));
}

}  // namespace

Wide lowest(Kind kind) {
    switch (kind) {
        case Kind::i32: return -(Wide{1} << 31);
        case Kind::i64: return -(Wide{1} << 63);
        default: return 0;
    }
}

Wide highest(Kind kind) {
    switch (kind) {
        case Kind::i32: return (Wide{1} << 31) - 1;
        case Kind::u32: return (Wide{1} << 32) - 1;
        case Kind::i64: return (Wide{1} << 63) - 1;
        default: return (Wide{1} << 64) - 1;
    }
}

std::string TypeTable::key_of(const Type& type) {
    return fmt::format("{} {} {} {} {} {}", static_cast<unsigned>(type.kind), type.element, type.bound,
                       type.ranged, static_cast<std::int64_t>(type.minimum),
                       static_cast<std::uint64_t>(type.maximum));
}

TypeId TypeTable::add(Type type) {
    const bool named = !type.name.empty();
    const std::string key = named ? std::string() : key_of(type);
    if (!named) {
        const auto known = anonymous_.find(key);
        if (known != anonymous_.end()) return known->second;
    }
    measure(type);
    deepen(type);
    types_.push_back(std::move(type));
    const auto id = static_cast<TypeId>(types_.size() - 1);
    if (!named) anonymous_.emplace(key, id);
    return id;
}

TypeId TypeTable::simple(Kind kind) {
    Type type;
    type.kind = kind;
    return add(std::move(type));
}

TypeId TypeTable::bounded(Kind kind, std::uint32_t bound) {
    Type type;
    type.kind = kind;
    type.bound = bound;
    return add(std::move(type));
}

TypeId TypeTable::made_of(Kind kind, TypeId element, std::uint32_t bound) {
    Type type;
    type.kind = kind;
    type.element = element;
    type.bound = bound;
    return add(std::move(type));
}

bool TypeTable::is_integer(TypeId id) const {
    const Kind kind = types_[id].kind;
    return kind == Kind::i32 || kind == Kind::u32 || kind == Kind::i64 || kind == Kind::u64;
}

TypeId TypeTable::with_range(TypeId id, Wide minimum, Wide maximum) {
    Type type = types_[id];
    switch (type.kind) {
        case Kind::i32:
        case Kind::u32:
        case Kind::i64:
        case Kind::u64:
            type.ranged = true;
            type.minimum = minimum;
            type.maximum = maximum;
            return add(std::move(type));
        case Kind::optional:
        case Kind::array:
        case Kind::fixed_array: {
            const TypeId inner = with_range(type.element, minimum, maximum);
            return inner == k_void ? k_void : made_of(type.kind, inner, type.bound);
        }
        default: return k_void;
    }
}

TypeId TypeTable::with_name(TypeId id) {
    const Type type = types_[id];
    switch (type.kind) {
        case Kind::string:
        case Kind::name: return bounded(Kind::name, type.bound);
        case Kind::optional:
        case Kind::array:
        case Kind::fixed_array: {
            const TypeId inner = with_name(type.element);
            return inner == k_void ? k_void : made_of(type.kind, inner, type.bound);
        }
        default: return k_void;
    }
}

// Counts the frames that the interpreter will need for a value.
void TypeTable::deepen(Type& type) const {
    const auto reach = [&](TypeId part) {
        if (part != k_void) type.depth = std::max(type.depth, types_[part].depth);
    };
    type.depth = 0;
    reach(type.element);
    for (const Field& field : type.fields) reach(field.type);
    for (const Arm& arm : type.arms) reach(arm.field.type);
    if (type.kind == Kind::structure || type.kind == Kind::array || type.kind == Kind::fixed_array)
        ++type.depth;
}

// Fills in the sizes, and whether the type can be skipped without a look.
void TypeTable::measure(Type& type) const {
    const auto fixed = [&](std::uint32_t size, bool plain) {
        type.least = type.most = size;
        type.plain = plain;
    };
    switch (type.kind) {
        case Kind::i32:
        case Kind::u32: return fixed(4, !type.ranged);
        case Kind::i64:
        case Kind::u64: return fixed(8, !type.ranged);
        case Kind::f32: return fixed(4, true);
        case Kind::f64: return fixed(8, true);
        case Kind::boolean:
        case Kind::character:
        case Kind::u8:
        case Kind::i16:
        case Kind::u16: return fixed(4, false);
        case Kind::enumeration: return fixed(4, !type.closed);
        case Kind::fixed_opaque: return fixed(padded(type.bound), type.bound % 4 == 0);
        case Kind::opaque:
        case Kind::string:
        case Kind::name:
            type.least = 4;
            type.most = plus(4, padded(type.bound));
            return;
        case Kind::optional:
            type.least = 4;
            type.most = plus(4, types_[type.element].most);
            return;
        case Kind::array:
            type.least = 4;
            type.most = plus(4, times(type.bound, types_[type.element].most));
            return;
        case Kind::fixed_array:
            type.least = times(type.bound, types_[type.element].least);
            type.most = times(type.bound, types_[type.element].most);
            type.plain = types_[type.element].plain;
            return;
        case Kind::structure:
            type.plain = type.relations.empty();
            for (const Field& field : type.fields) {
                const Type& part = types_[field.type];
                type.least = plus(type.least, part.least);
                type.most = plus(type.most, part.most);
                type.plain = type.plain && part.plain;
            }
            return;
        case Kind::choice: {
            const std::uint32_t word = types_[type.fields.front().type].least;
            std::uint32_t least = k_huge, most = 0;
            for (const Arm& arm : type.arms) {
                least = std::min(least, arm.field.type == k_void ? 0 : types_[arm.field.type].least);
                most = std::max(most, arm.field.type == k_void ? 0 : types_[arm.field.type].most);
            }
            type.least = plus(word, least);
            type.most = plus(word, most);
            return;
        }
    }
}

}  // namespace virtgate::proto::xdrgen
