// SPDX-License-Identifier: LGPL-2.1-or-later
// prune - walk the array in a payload that a path leads to, and take elements out of it in place.
#include "proto/prune.h"

#include <algorithm>

namespace virtgate::proto {

namespace {

using layout::Kind;
using layout::Section;

// The number of steps before the first array.
std::size_t steps_to_array(std::span<const std::uint32_t> steps) noexcept {
    return static_cast<std::size_t>(std::find(steps.begin(), steps.end(), layout::k_each) - steps.begin());
}

// Whether taking elements out of an array of this structure keeps all of its promises.
[[nodiscard]] bool has_relations(const Schema& schema, TypeIndex structure) noexcept {
    const std::uint32_t* row = schema.row(Section::types, structure);
    return static_cast<Kind>(row[0] & 0xff) != Kind::structure || row[6] != 0;
}

// Moves what is kept to the front, run by run: each byte moves at most once.
class Mover {
public:
    Mover(MutableBytes payload, std::uint32_t to) noexcept
        : payload_(payload), to_(to), from_(to), end_(to) {}

    // The bytes from where the last call ended up to `end` stay.
    void keep(std::uint32_t end) noexcept { end_ = end; }

    // The bytes from where the last call ended up to `end` go.
    void drop(std::uint32_t end) noexcept {
        flush();
        from_ = end_ = end;
    }

    // Moves the last run; the size of what is left.
    std::uint32_t finish() noexcept {
        flush();
        return to_;
    }

private:
    void flush() noexcept {
        if (from_ != to_ && end_ != from_)
            std::memmove(payload_.data() + to_, payload_.data() + from_, end_ - from_);
        to_ += end_ - from_;
        from_ = end_;
    }

    MutableBytes payload_;
    std::uint32_t to_;    // where the next run goes
    std::uint32_t from_;  // the run that is kept, not moved yet
    std::uint32_t end_;
};

}  // namespace

Elements::Elements(const Schema& schema, TypeIndex type, ByteView payload,
                   std::span<const std::uint32_t> steps) noexcept
    : schema_(schema), payload_(payload) {
    const std::size_t before = steps_to_array(steps);
    if (before == steps.size()) return;
    const Found found = locate(schema, type, payload, steps.first(before), {});
    if (!found.present || payload.size() - found.offset < 4) return;
    const std::uint32_t* row = schema.row(Section::types, found.type);
    if (static_cast<Kind>(row[0] & 0xff) != Kind::array) return;
    inner_ = steps.subspan(before + 1);
    element_ = row[3];
    start_ = found.offset;
    at_ = start_ + 4;
    count_ = left_ = load_be32(payload.data() + start_);
    // validate() has checked that; here it bounds the walk of a payload that nobody validated.
    ok_ = count_ <= row[4];
    if (!ok_) left_ = 0;
}

bool Elements::next(ByteView& element) noexcept {
    if (left_ == 0) return false;
    const std::uint32_t end = end_of(schema_, element_, payload_, at_);
    if (end == k_no_end) {
        ok_ = false;
        left_ = 0;
        return false;
    }
    element = payload_.subspan(at_, end - at_);
    at_ = end;
    --left_;
    return true;
}

Pruned prune(const Schema& schema, TypeIndex type, MutableBytes payload, std::span<const std::uint32_t> steps,
             std::uint32_t count_field, Keeper& keeper) noexcept {
    const std::size_t before = steps_to_array(steps);
    if (before == 0 || before == steps.size() || before > k_depth_max) return {};
    const auto path = steps.first(before - 1);
    const Found structure = locate(schema, type, payload, path, {});
    if (!structure.present || has_relations(schema, structure.type)) return {};

    // Elements are read ahead of where the kept ones are moved to, so a moved byte is never read again.
    Elements elements(schema, type, payload, steps);
    if (!elements.ok() || elements.type() == k_void) return {};
    Pruned result;
    Mover mover(payload, elements.at());
    ByteView element;
    while (elements.next(element)) {
        const Found place = locate(schema, elements.type(), element, elements.inner(), {});
        if (place.present && keeper.keeps(element.subspan(place.offset))) {
            mover.keep(elements.at());
            ++result.kept;
        } else {
            mover.drop(elements.at());
            ++result.gone;
        }
    }
    if (!elements.ok()) return {};
    mover.keep(static_cast<std::uint32_t>(payload.size()));
    result.size = mover.finish();
    store_be32(payload.data() + elements.start(), result.kept);
    result.ok = true;

    // Found only now: a field behind the array has moved.
    if (count_field != layout::k_none) {
        const MutableBytes left = payload.first(result.size);
        const std::uint32_t step[] = {count_field};
        const ByteView inside = ByteView(left).subspan(structure.offset);
        const Found count = locate(schema, structure.type, inside, step, {});
        result.ok = count.present && inside.size() - count.offset >= 4;
        if (result.ok) store_be32(left.data() + structure.offset + count.offset, result.kept);
    }
    return result;
}

}  // namespace virtgate::proto
