// SPDX-License-Identifier: LGPL-2.1-or-later
// prune - walk the array in a payload that a path leads to, and take elements out of it in place.
//
// What is left is again a valid, canonical value of the type: the array's count is corrected, and one more
// integer that repeats it, if the type has one (`result` in libvirt's newer list calls).
//
// Trust:  the payload has passed validate(). One that has not is never read or written beyond its end, but
//         what is left of it may be nonsense: `ok` is false then, and it has to be thrown away.
// Limits: those of validate(). Time grows with the payload, not with what is taken out; no allocation. An
//         array in a structure with relations between its fields (@same_length, @product) is left alone: none
//         that lists objects is in one.
// Owns:   nothing. Elements are views of the payload.
#pragma once

#include "libshared/base/bytes.h"
#include "proto/schema.h"

namespace virtgate::proto {

// The elements of the first array on the path `steps`, in order, as the bytes that each of them takes.
class Elements {
public:
    // `payload` is a value of `type`. If the path leads to no array, or to one inside of an optional that is
    // absent, there are no elements, and ok() is false.
    Elements(const Schema& schema, TypeIndex type, ByteView payload,
             std::span<const std::uint32_t> steps) noexcept;

    // Gives the next element, or returns false at the end or when the payload ends too early.
    [[nodiscard]] bool next(ByteView& element) noexcept;

    // False if the payload or the path is not what was promised.
    [[nodiscard]] bool ok() const noexcept { return ok_; }
    // The type of an element.
    [[nodiscard]] TypeIndex type() const noexcept { return element_; }
    // How many elements the array says it has.
    [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
    // Where the array starts (its count), and where next() will go on.
    [[nodiscard]] std::uint32_t start() const noexcept { return start_; }
    [[nodiscard]] std::uint32_t at() const noexcept { return at_; }
    // The steps behind the array: from an element to the wanted place in it.
    [[nodiscard]] std::span<const std::uint32_t> inner() const noexcept { return inner_; }

private:
    const Schema& schema_;
    ByteView payload_;
    std::span<const std::uint32_t> inner_;
    TypeIndex element_ = k_void;
    std::uint32_t start_ = 0;
    std::uint32_t at_ = 0;
    std::uint32_t count_ = 0;
    std::uint32_t left_ = 0;
    bool ok_ = false;
};

// Who says which elements stay.
class Keeper {
public:
    virtual ~Keeper() = default;
    // True if the element with `object` stays. `object` starts at the place that the path leads to inside of
    // the element and ends with the element; it is read-only and only valid during the call.
    [[nodiscard]] virtual bool keeps(ByteView object) noexcept = 0;
};

struct Pruned {
    bool ok = false;         // otherwise throw the payload away
    std::uint32_t size = 0;  // of the payload that is left
    std::uint32_t kept = 0;  // elements
    std::uint32_t gone = 0;
};

// Takes out of the first array on the path `steps` each element that `keeper` does not keep, and each in
// which an optional on the rest of the path is absent. `count_field` is the number of the field of the
// array's structure that repeats its count, or layout::k_none; it becomes the number of elements that are
// left, whatever it was.
[[nodiscard]] Pruned prune(const Schema& schema, TypeIndex type, MutableBytes payload,
                           std::span<const std::uint32_t> steps, std::uint32_t count_field,
                           Keeper& keeper) noexcept;

}  // namespace virtgate::proto
