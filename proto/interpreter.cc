// SPDX-License-Identifier: LGPL-2.1-or-later
// interpreter - walk a payload along its schema, check it and bring it into canonical form.
//
// One loop with a stack of fixed size. A frame is a structure (the rest of its fields) or an array (the rest of its
// elements); optionals and unions leave no frame, they only choose what comes next.
#include <cstring>

#include "libshared/base/bytes.h"
#include "proto/schema.h"

namespace virtgate::proto {

namespace {

using layout::Kind;
using layout::Section;

// Not initialised: push() sets what is read later, and clearing the stack would cost more than a small payload.
struct Frame {
    const std::uint32_t* next;       // the word that names the next part's type
    const std::uint32_t* relations;  // rows to check at the end
    std::uint32_t left;              // parts to come
    std::uint32_t step;              // words from one part's word to the next; 0 in an array
    std::uint32_t relation_count;
    std::uint32_t marks[layout::k_marks];  // where the fields start that the relations speak of
};

class Walk {
public:
    Walk(const Schema& schema, std::span<std::byte> payload, Extent extent) noexcept
        : schema_(schema),
          types_(schema.row(Section::types, 0)),
          bytes_(payload.data()),
          size_(static_cast<std::uint32_t>(payload.size())),
          whole_(extent == Extent::whole) {}

    Verdict run(TypeIndex root) noexcept {
        if (enter(root)) {
            while (depth_ != 0 && advance()) {
            }
        }
        if (flaw_ == Flaw::none && at_ != size_) flaw_ = Flaw::trailing_bytes;
        return {flaw_, at_, rewritten_};
    }

private:
    static constexpr std::uint32_t k_type_words =
        layout::k_row_words[static_cast<std::size_t>(Section::types)];

    bool refuse(Flaw flaw, std::uint32_t offset) noexcept {
        flaw_ = flaw;
        at_ = offset;
        return false;
    }

    [[nodiscard]] std::uint32_t left() const noexcept { return size_ - at_; }

    // Checks the next part of the innermost frame, or leaves the frame.
    bool advance() noexcept {
        Frame& top = stack_[depth_ - 1];
        if (top.left == 0) {
            --depth_;
            return top.relation_count == 0 || check_relations(top);
        }
        --top.left;
        const std::uint32_t word = *top.next;
        top.next += top.step;
        if (word > layout::k_type_mask) top.marks[(word >> 24) - 1] = at_;
        return enter(word & layout::k_type_mask);
    }

    // Checks one value, or pushes the frame for its parts.
    bool enter(TypeIndex type) noexcept {
        for (;;) {
            const std::uint32_t* row = types_ + std::size_t{type} * k_type_words;
            const std::uint32_t head = row[0];
            if ((head & layout::k_plain) != 0) return skip(row[1]);
            switch (static_cast<Kind>(head & 0xff)) {
                case Kind::i32:
                case Kind::u32:
                case Kind::i64:
                case Kind::u64: return check_range(row);
                case Kind::boolean: return canonical_word(boolean_of);
                case Kind::character: return canonical_word(character_of);
                case Kind::u8: return canonical_word(u8_of);
                case Kind::i16: return canonical_word(i16_of);
                case Kind::u16: return canonical_word(u16_of);
                case Kind::f32:
                case Kind::f64: return skip(row[1]);
                case Kind::enumeration: return check_member(row);
                case Kind::fixed_opaque: return bytes_and_padding(row[3]);
                case Kind::opaque:
                case Kind::string:
                case Kind::name: return counted_bytes(static_cast<Kind>(head & 0xff), row[3]);
                case Kind::structure: return push(schema_.row(Section::fields, row[3]), row[4], 3, row);
                case Kind::choice:
                    if (!choose(row, type)) return false;
                    break;
                case Kind::optional:
                    if (!canonical_word(boolean_of)) return false;
                    if (load_be32(bytes_ + at_ - 4) == 0) return true;
                    type = row[3];
                    break;
                case Kind::array: return enter_array(row);
                case Kind::fixed_array: return push(row + 3, row[4], 0, nullptr);
            }
            if (type == k_void) return true;
        }
    }

    bool push(const std::uint32_t* next, std::uint32_t parts, std::uint32_t step,
              const std::uint32_t* structure) noexcept {
        if (depth_ == k_depth_max) return refuse(Flaw::bad_schema, at_);
        Frame& top = stack_[depth_++];
        top.next = next;
        top.left = parts;
        top.step = step;
        top.relation_count = structure == nullptr ? 0 : structure[6];
        if (top.relation_count != 0) top.relations = schema_.row(Section::relations, structure[5]);
        return true;
    }

    bool skip(std::uint32_t size) noexcept {
        if (left() < size) return refuse(Flaw::truncated, at_);
        at_ += size;
        return true;
    }

    static std::uint32_t boolean_of(std::uint32_t word) noexcept { return word != 0 ? 1 : 0; }
    static std::uint32_t u8_of(std::uint32_t word) noexcept { return word & 0xff; }
    static std::uint32_t u16_of(std::uint32_t word) noexcept { return word & 0xffff; }
    static std::uint32_t character_of(std::uint32_t word) noexcept {
        return static_cast<std::uint32_t>(static_cast<std::int8_t>(word & 0xff));
    }
    static std::uint32_t i16_of(std::uint32_t word) noexcept {
        return static_cast<std::uint32_t>(static_cast<std::int16_t>(word & 0xffff));
    }

    template <class F>
    bool canonical_word(F form) noexcept {
        if (left() < 4) return refuse(Flaw::truncated, at_);
        const std::uint32_t word = load_be32(bytes_ + at_);
        const std::uint32_t canonical = form(word);
        if (canonical != word) {
            store_be32(bytes_ + at_, canonical);
            rewritten_ = true;
        }
        at_ += 4;
        return true;
    }

    // The bounds are 64-bit values; a signed kind's are compared as signed ones.
    bool check_range(const std::uint32_t* row) noexcept {
        const std::uint32_t size = row[1];
        if (left() < size) return refuse(Flaw::truncated, at_);
        const std::uint64_t least = std::uint64_t{row[3]} << 32 | row[4];
        const std::uint64_t most = std::uint64_t{row[5]} << 32 | row[6];
        const auto kind = static_cast<Kind>(row[0] & 0xff);
        const std::uint64_t value = size == 8 ? load_be64(bytes_ + at_) : load_be32(bytes_ + at_);
        bool within = value >= least && value <= most;
        if (kind == Kind::i32 || kind == Kind::i64) {
            const auto number = kind == Kind::i32
                                    ? static_cast<std::int64_t>(static_cast<std::int32_t>(value))
                                    : static_cast<std::int64_t>(value);
            within = number >= static_cast<std::int64_t>(least) && number <= static_cast<std::int64_t>(most);
        }
        if (!within) return refuse(Flaw::out_of_range, at_);
        at_ += size;
        return true;
    }

    bool check_member(const std::uint32_t* row) noexcept {
        if (left() < 4) return refuse(Flaw::truncated, at_);
        const std::uint32_t value = load_be32(bytes_ + at_);
        const std::uint32_t* member = schema_.row(Section::members, row[3]);
        for (std::uint32_t i = 0; i < row[4]; ++i, member += 2) {
            if (*member == value) {
                at_ += 4;
                return true;
            }
        }
        return refuse(Flaw::bad_enum, at_);
    }

    // `size` bytes as they are, then zero bytes up to a whole word.
    bool bytes_and_padding(std::uint32_t size) noexcept {
        const std::uint32_t padding = (4 - size % 4) % 4;
        if (left() < size || left() - size < padding) return refuse(Flaw::truncated, at_);
        at_ += size;
        for (std::uint32_t i = 0; i < padding; ++i, ++at_) {
            if (bytes_[at_] != std::byte{0}) {
                bytes_[at_] = std::byte{0};
                rewritten_ = true;
            }
        }
        return true;
    }

    bool counted_bytes(Kind kind, std::uint32_t max) noexcept {
        const std::uint32_t start = at_;
        if (left() < 4) return refuse(Flaw::truncated, at_);
        const std::uint32_t size = load_be32(bytes_ + at_);
        if (size > max) return refuse(Flaw::string_too_long, start);
        at_ += 4;
        // Padding counts as missing like the body does, so that decoder and interpreter agree on the flaw.
        const bool all_there = left() >= size && left() - size >= (4 - size % 4) % 4;
        if (!all_there && whole_) return refuse(Flaw::truncated, start);
        const std::uint32_t there = left() < size ? left() : size;
        if (kind != Kind::opaque && there != 0 && std::memchr(bytes_ + at_, 0, there) != nullptr)
            return refuse(Flaw::nul_in_string, start);
        if (kind == Kind::name && has_control(there)) return refuse(Flaw::control_in_name, start);
        if (!all_there) return refuse(Flaw::truncated, start);
        return bytes_and_padding(size);
    }

    // Eight bytes at a time: a byte below 0x20 borrows from its top bit, 0x7f is the one byte that becomes zero.
    [[nodiscard]] bool has_control(std::uint32_t size) const noexcept {
        constexpr std::uint64_t k_ones = 0x0101010101010101;
        constexpr std::uint64_t k_tops = 0x8080808080808080;
        const std::byte* from = bytes_ + at_;
        for (; size >= 8; size -= 8, from += 8) {
            std::uint64_t eight;
            std::memcpy(&eight, from, sizeof eight);
            const std::uint64_t deleted = eight ^ (k_ones * 0x7f);
            if ((((eight - k_ones * 0x20) & ~eight) | ((deleted - k_ones) & ~deleted)) & k_tops) return true;
        }
        for (; size > 0; --size, ++from) {
            const auto byte = std::to_integer<unsigned>(*from);
            if (byte < 0x20 || byte == 0x7f) return true;
        }
        return false;
    }

    bool enter_array(const std::uint32_t* row) noexcept {
        const std::uint32_t start = at_;
        if (left() < 4) return refuse(Flaw::truncated, at_);
        const std::uint32_t elements = load_be32(bytes_ + at_);
        if (elements > row[4]) return refuse(Flaw::array_too_long, start);
        at_ += 4;
        const std::uint32_t* element = types_ + std::size_t{row[3]} * k_type_words;
        if (whole_ && left() / element[1] < elements) return refuse(Flaw::truncated, start);
        if ((element[0] & layout::k_plain) != 0) {
            if (left() / element[1] < elements) return refuse(Flaw::truncated, start);
            at_ += elements * element[1];
            return true;
        }
        return push(row + 3, elements, 0, nullptr);
    }

    bool check_discriminant(TypeIndex type) noexcept {
        const std::uint32_t* row = types_ + std::size_t{type} * k_type_words;
        if ((row[0] & layout::k_plain) != 0) return skip(4);
        switch (static_cast<Kind>(row[0] & 0xff)) {
            case Kind::boolean: return canonical_word(boolean_of);
            case Kind::enumeration: return check_member(row);
            default: return check_range(row);
        }
    }

    // Reads the discriminant of a union and sets `type` to the arm's.
    bool choose(const std::uint32_t* row, TypeIndex& type) noexcept {
        const std::uint32_t start = at_;
        if (!check_discriminant(row[3])) return false;
        const std::uint32_t value = load_be32(bytes_ + start);
        const std::uint32_t* arms = schema_.row(Section::arms, row[4]);
        if ((row[0] & layout::k_dense) != 0) {
            const std::uint32_t number = value - arms[0];
            if (number < row[5]) {
                type = arms[std::size_t{number} * 3 + 1];
                return true;
            }
        } else {
            for (std::uint32_t i = 0; i < row[5]; ++i, arms += 3) {
                if (arms[0] == value) {
                    type = arms[1];
                    return true;
                }
            }
        }
        if (row[6] == layout::k_no_default) return refuse(Flaw::bad_union, start);
        type = row[6];
        return true;
    }

    [[nodiscard]] std::uint64_t factor(std::uint32_t offset, std::uint32_t width) const noexcept {
        return width == 8 ? load_be64(bytes_ + offset) : load_be32(bytes_ + offset);
    }

    bool check_relations(const Frame& frame) noexcept {
        const std::uint32_t* relation = frame.relations;
        for (std::uint32_t i = 0; i < frame.relation_count; ++i, relation += 6) {
            const std::uint32_t where = frame.marks[relation[2] - 1];
            const std::uint64_t a = factor(frame.marks[relation[1] - 1], relation[3] & 0xff);
            const std::uint64_t b = factor(where, relation[3] >> 8);
            if (static_cast<layout::RelationKind>(relation[0]) == layout::RelationKind::same_length) {
                if (a != b) return refuse(Flaw::lengths_differ, where);
            } else {
                const std::uint64_t most = std::uint64_t{relation[4]} << 32 | relation[5];
                if (b != 0 && a > most / b) return refuse(Flaw::product_too_large, where);
            }
        }
        return true;
    }

    const Schema& schema_;
    const std::uint32_t* types_;
    std::byte* bytes_;
    std::uint32_t size_;
    std::uint32_t at_ = 0;
    std::uint32_t depth_ = 0;
    bool whole_;
    bool rewritten_ = false;
    Flaw flaw_ = Flaw::none;
    Frame stack_[k_depth_max];
};

}  // namespace

Verdict validate(const Schema& schema, TypeIndex type, std::span<std::byte> payload, Extent extent) noexcept {
    if (payload.size() > 0xfffffff0) return {Flaw::trailing_bytes, 0, false};
    if (type == k_void) return {payload.empty() ? Flaw::none : Flaw::trailing_bytes, 0, false};
    if (type >= schema.type_count()) return {Flaw::bad_schema, 0, false};
    return Walk(schema, payload, extent).run(type);
}

}  // namespace virtgate::proto
