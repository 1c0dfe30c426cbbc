// SPDX-License-Identifier: LGPL-2.1-or-later
// types - the list of all types of a run: no duplicates, sizes computed.
//
// Owns: nothing; the list belongs to the Model.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "proto/xdrgen/model.h"

namespace virtgate::proto::xdrgen {

class TypeTable {
public:
    explicit TypeTable(std::vector<Type>& types) : types_(types) {}

    [[nodiscard]] const Type& at(TypeId id) const { return types_[id]; }

    // Adds `type`, or finds the same type without a name. Everything it is made of must be in the list.
    TypeId add(Type type);

    // Shorthands for add().
    TypeId simple(Kind kind);
    TypeId bounded(Kind kind, std::uint32_t bound);                  // fixed_opaque, opaque, string, name
    TypeId made_of(Kind kind, TypeId element, std::uint32_t bound);  // optional, array, fixed_array

    // `type` with its innermost integer limited to a range, or its innermost string made a name. An enumeration,
    // structure or union is not looked into. Returns k_void if there is no such innermost type.
    TypeId with_range(TypeId type, Wide minimum, Wide maximum);
    TypeId with_name(TypeId type);

    // True for signed and unsigned integers of 4 and 8 bytes.
    [[nodiscard]] bool is_integer(TypeId type) const;

private:
    void measure(Type& type) const;
    void deepen(Type& type) const;
    [[nodiscard]] static std::string key_of(const Type& type);

    std::vector<Type>& types_;
    std::map<std::string, TypeId> anonymous_;
};

// The smallest and largest value that an integer kind holds.
[[nodiscard]] Wide lowest(Kind kind);
[[nodiscard]] Wide highest(Kind kind);

}  // namespace virtgate::proto::xdrgen
