// SPDX-License-Identifier: LGPL-2.1-or-later
// random_payload - valid payloads of any type, made from its schema.
#include "tests/support/random_payload.h"

#include <algorithm>

namespace virtgate::test {

namespace {

using proto::layout::Kind;
using proto::layout::Section;

constexpr int k_attempts = 400;

class Maker {
public:
    Maker(const proto::Schema& schema, Random& random, Style style)
        : schema_(schema), random_(random), sloppy_(style == Style::sloppy) {}

    std::vector<std::byte> run(proto::TypeIndex type) {
        bytes_.clear();
        value(type);
        return std::move(bytes_);
    }

private:
    std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

    void word(std::uint64_t value) {
        for (const int shift : {24, 16, 8, 0})
            bytes_.push_back(static_cast<std::byte>(value >> shift & 0xff));
    }

    void two_words(std::uint64_t value) {
        word(value >> 32);
        word(value);
    }

    void pad() {
        while (bytes_.size() % 4 != 0)
            bytes_.push_back(sloppy_ ? static_cast<std::byte>(random_()) : std::byte{0});
    }

    void boolean(bool value) {
        if (value && sloppy_)
            word(1 + below(0xffffffff));
        else
            word(value ? 1 : 0);
    }

    // One word of which only the low bits count.
    void narrow(std::uint64_t canonical, unsigned bits) {
        const std::uint64_t low = canonical & ((1U << bits) - 1);
        word(sloppy_ ? (random_() & ~std::uint64_t{(1U << bits) - 1}) | low : canonical);
    }

    // Any 64 bits, with a liking for the ends.
    std::uint64_t number() {
        switch (below(6)) {
            case 0: return 0;
            case 1: return 1;
            case 2: return ~std::uint64_t{0};
            case 3: return std::uint64_t{1} << below(64);
            default: return random_();
        }
    }

    std::uint64_t in_range(const std::uint32_t* row) {
        const std::uint64_t least = std::uint64_t{row[3]} << 32 | row[4];
        const std::uint64_t most = std::uint64_t{row[5]} << 32 | row[6];
        const std::uint64_t width = most - least;  // right for signed kinds too
        switch (below(5)) {
            case 0: return least;
            case 1: return most;
            case 2: return least + std::min<std::uint64_t>(width, below(4));
            default: return width == ~std::uint64_t{0} ? random_() : least + below(width + 1);
        }
    }

    std::uint32_t length(std::uint32_t most) {
        if (most <= 300 && below(12) == 0) return most;
        return static_cast<std::uint32_t>(below(std::min<std::uint64_t>(most, 9) + 1));
    }

    void text(Kind kind, std::uint32_t size) {
        for (std::uint32_t i = 0; i < size; ++i) {
            unsigned byte = 0;
            if (kind == Kind::opaque)
                byte = static_cast<unsigned>(below(256));
            else if (kind == Kind::string)
                byte = static_cast<unsigned>(1 + below(255));
            else
                byte = static_cast<unsigned>(0x20 + below(0x5f));
            bytes_.push_back(static_cast<std::byte>(byte));
        }
        pad();
    }

    void value(proto::TypeIndex type) {
        const std::uint32_t* row = schema_.row(Section::types, type);
        const auto kind = static_cast<Kind>(row[0] & 0xff);
        const bool ranged = (row[0] & proto::layout::k_ranged) != 0;
        switch (kind) {
            case Kind::i32:
            case Kind::u32: return word(ranged ? in_range(row) : number());
            case Kind::i64:
            case Kind::u64: return two_words(ranged ? in_range(row) : number());
            case Kind::f32: return word(random_());
            case Kind::f64: return two_words(random_());
            case Kind::boolean: return boolean(below(2) == 1);
            case Kind::character:
                return narrow(static_cast<std::uint64_t>(
                                  static_cast<std::int64_t>(static_cast<std::int8_t>(random_()))),
                              8);
            case Kind::u8: return narrow(below(256), 8);
            case Kind::i16:
                return narrow(static_cast<std::uint64_t>(
                                  static_cast<std::int64_t>(static_cast<std::int16_t>(random_()))),
                              16);
            case Kind::u16: return narrow(below(65536), 16);
            case Kind::enumeration: return member(row);
            case Kind::fixed_opaque: return text(Kind::opaque, row[3]);
            case Kind::opaque:
            case Kind::string:
            case Kind::name: {
                const std::uint32_t size = length(row[3]);
                word(size);
                return text(kind, size);
            }
            case Kind::structure:
                for (std::uint32_t i = 0; i < row[4]; ++i)
                    value(schema_.row(Section::fields, row[3] + i)[0] & proto::layout::k_type_mask);
                return;
            case Kind::choice: return arm(row);
            case Kind::optional: {
                const bool present = below(3) != 0;
                boolean(present);
                if (present) value(row[3]);
                return;
            }
            case Kind::array: {
                const auto elements =
                    static_cast<std::uint32_t>(below(std::min<std::uint64_t>(row[4], 4) + 1));
                word(elements);
                for (std::uint32_t i = 0; i < elements; ++i) value(row[3]);
                return;
            }
            case Kind::fixed_array:
                for (std::uint32_t i = 0; i < row[4]; ++i) value(row[3]);
                return;
        }
    }

    void member(const std::uint32_t* row) {
        const bool closed = (row[0] & proto::layout::k_closed) != 0;
        if (row[4] != 0 && (closed || below(8) != 0))
            word(schema_.row(Section::members, row[3] + static_cast<std::uint32_t>(below(row[4])))[0]);
        else
            word(number());
    }

    void arm(const std::uint32_t* row) {
        const bool has_default = row[6] != proto::layout::k_no_default;
        if (row[5] == 0 || (has_default && below(4) == 0)) {
            const std::uint32_t number = 0x7fff0000 + static_cast<std::uint32_t>(below(100));
            word(number);
            if (row[6] != proto::k_void) value(row[6]);
            return;
        }
        const std::uint32_t* chosen =
            schema_.row(Section::arms, row[4] + static_cast<std::uint32_t>(below(row[5])));
        word(chosen[0]);
        if (chosen[1] != proto::k_void) value(chosen[1]);
    }

    const proto::Schema& schema_;
    Random& random_;
    bool sloppy_;
    std::vector<std::byte> bytes_;
};

}  // namespace

std::optional<std::vector<std::byte>> random_payload(const proto::Schema& schema, proto::TypeIndex type,
                                                     Random& random, Style style) {
    Maker maker(schema, random, style);
    for (int i = 0; i < k_attempts; ++i) {
        std::vector<std::byte> payload = maker.run(type);
        std::vector<std::byte> copy = payload;
        const proto::Flaw flaw = proto::validate(schema, type, copy, proto::Extent::whole).flaw;
        // Only the relations between fields are left to chance; any other flaw is for the caller to see.
        if (flaw != proto::Flaw::product_too_large && flaw != proto::Flaw::lengths_differ) return payload;
    }
    return std::nullopt;
}

}  // namespace virtgate::test
