// SPDX-License-Identifier: LGPL-2.1-or-later
// payload - JSON as payloads.
#include <fmt/format.h>

#include <array>
#include <bit>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "libshared/base/suggest.h"
#include "libshared/reflect/description.h"
#include "libshared/reflect/encoding.h"
#include "libshared/reflect/json.h"
#include "libshared/reflect/rows.h"

namespace virtgate::reflect {

namespace {

// Of more members a message would not be read.
constexpr std::size_t k_names_shown = 12;

// "a number", "null": what was given instead of what was wanted.
std::string_view name_kind(const Json& json) {
    switch (json.type()) {
        case Json::value_t::null: return "null";
        case Json::value_t::object: return "an object";
        case Json::value_t::array: return "an array";
        case Json::value_t::string: return "a string";
        case Json::value_t::boolean: return "true or false";
        default: return "a number";
    }
}

// A whole number: its sign, and the 64 bits that stand for it.
struct Whole {
    bool negative = false;
    std::uint64_t bits = 0;
};

std::optional<Whole> whole_of(const Json& json, bool is_wide) {
    if (json.is_number_unsigned()) return Whole{false, json.get<std::uint64_t>()};
    if (json.is_number_integer()) {
        const auto value = json.get<std::int64_t>();
        return Whole{value < 0, static_cast<std::uint64_t>(value)};
    }
    // Programs whose numbers are doubles write 64-bit ones as text.
    if (!is_wide || !json.is_string()) return std::nullopt;
    const auto& text = json.get_ref<const std::string&>();
    const char* const end = text.data() + text.size();
    std::int64_t negative = 0;
    std::uint64_t positive = 0;
    if (text.starts_with('-')) {
        const auto [at, error] = std::from_chars(text.data(), end, negative);
        if (error != std::errc{} || at != end) return std::nullopt;
        return Whole{negative < 0, static_cast<std::uint64_t>(negative)};
    }
    const auto [at, error] = std::from_chars(text.data(), end, positive);
    if (error != std::errc{} || at != end) return std::nullopt;
    return Whole{false, positive};
}

struct Range {
    std::int64_t least;
    std::uint64_t most;
};

Range range_of(const TypeRow& row) {
    if (row.has(layout::k_ranged)) {
        const bool is_signed = row.kind() == Kind::i32 || row.kind() == Kind::i64;
        // An unsigned least is never above what a signed number can be, but compared as such it might seem
        // so.
        return {is_signed ? static_cast<std::int64_t>(row.wide(0))
                          : static_cast<std::int64_t>(std::min<std::uint64_t>(
                                row.wide(0), std::numeric_limits<std::int64_t>::max())),
                row.wide(2)};
    }
    switch (row.kind()) {
        case Kind::i64: return {std::numeric_limits<std::int64_t>::min(), INT64_MAX};
        case Kind::u64: return {0, UINT64_MAX};
        case Kind::u32: return {0, UINT32_MAX};
        case Kind::u16: return {0, UINT16_MAX};
        case Kind::u8: return {0, UINT8_MAX};
        case Kind::i16: return {INT16_MIN, INT16_MAX};
        case Kind::character: return {INT8_MIN, INT8_MAX};
        default: return {INT32_MIN, INT32_MAX};
    }
}

bool fits(const Whole& value, const Range& range) {
    if (value.negative) return static_cast<std::int64_t>(value.bits) >= range.least;
    const bool above_least = range.least <= 0 || value.bits >= static_cast<std::uint64_t>(range.least);
    // A range of negative numbers only has a "most" that is negative, too.
    return above_least && value.bits <= range.most;
}

class Builder {
public:
    Builder(const proto::Schema& schema, std::string_view root) : schema_(schema), place_(root) {}

    bool value(proto::TypeIndex type, const Json& json) {
        const TypeRow row(schema_, type);
        switch (row.kind()) {
            case Kind::f32:
            case Kind::f64: return real(type, row, json);
            case Kind::boolean:
                if (!json.is_boolean()) return refuse(type, json);
                put(json.get<bool>() ? 1 : 0);
                return true;
            case Kind::enumeration: return enumeration(type, row, json);
            case Kind::fixed_opaque: return fixed_opaque(type, row, json);
            case Kind::opaque: return opaque(type, row, json);
            case Kind::string:
            case Kind::name: return string(type, row, json);
            case Kind::structure: return structure(type, row, json);
            case Kind::choice:
                if (!json.is_object()) return refuse(type, json);
                return choose(type, json) && all_known(json, {"type", "value"}, type);
            case Kind::optional:
                put(json.is_null() ? 0 : 1);
                return json.is_null() || value(row.parameter(0), json);
            case Kind::array:
            case Kind::fixed_array: return list(type, row, json);
            default: return integer(type, row, json);
        }
    }

    [[nodiscard]] std::string take_complaint() { return std::move(complaint_); }
    [[nodiscard]] ByteVector take() { return std::move(bytes_); }
    [[nodiscard]] const std::string& place() const { return place_; }

private:
    bool complain(const std::string& text) {
        complaint_ = place_ + ": " + text;
        return false;
    }

    bool refuse(proto::TypeIndex type, const Json& json) {
        return complain(fmt::format("{} is wanted, not {}", describe_type(schema_, type), name_kind(json)));
    }

    void put(std::uint32_t word) {
        bytes_.resize(bytes_.size() + 4);
        store_be32(bytes_.data() + bytes_.size() - 4, word);
    }

    void put_wide(std::uint64_t value) {
        put(static_cast<std::uint32_t>(value >> 32));
        put(static_cast<std::uint32_t>(value));
    }

    void put_padded(ByteView bytes) {
        bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
        bytes_.resize((bytes_.size() + 3) & ~std::size_t{3});
    }

    bool integer(proto::TypeIndex type, const TypeRow& row, const Json& json) {
        const bool is_wide = row.kind() == Kind::i64 || row.kind() == Kind::u64;
        const auto number = whole_of(json, is_wide);
        if (!number) return refuse(type, json);
        if (!fits(*number, range_of(row)))
            return complain(
                fmt::format("{} is wanted, and this number is beyond it", describe_type(schema_, type)));
        if (is_wide)
            put_wide(number->bits);
        else
            put(static_cast<std::uint32_t>(number->bits));
        return true;
    }

    static std::optional<double> real_of(const Json& json) {
        if (json.is_number()) return json.get<double>();
        if (!json.is_string()) return std::nullopt;
        const auto& text = json.get_ref<const std::string&>();
        if (text == "nan") return std::bit_cast<double>(k_nan);
        if (text == "inf") return std::numeric_limits<double>::infinity();
        if (text == "-inf") return -std::numeric_limits<double>::infinity();
        if (!text.starts_with("nan:")) return std::nullopt;
        const auto bytes = from_hex(std::string_view(text).substr(4));
        if (!bytes || bytes->size() != 8) return std::nullopt;
        return std::bit_cast<double>(load_be64(bytes->data()));
    }

    bool real(proto::TypeIndex type, const TypeRow& row, const Json& json) {
        const auto value = real_of(json);
        if (!value) return refuse(type, json);
        if (row.kind() == Kind::f64)
            put_wide(std::bit_cast<std::uint64_t>(*value));
        else
            put(std::bit_cast<std::uint32_t>(static_cast<float>(*value)));
        return true;
    }

    bool enumeration(proto::TypeIndex type, const TypeRow& row, const Json& json) {
        std::vector<std::string_view> names;
        const auto number = whole_of(json, false);
        for (std::uint32_t i = 0; i < row.parameter(1); ++i) {
            const std::uint32_t* member = schema_.row(Section::members, row.parameter(0) + i);
            names.push_back(schema_.text(member[1]));
            if ((json.is_string() && json.get_ref<const std::string&>() == names.back()) ||
                (number && static_cast<std::uint32_t>(number->bits) == member[0] &&
                 fits(*number, {INT32_MIN, INT32_MAX}))) {
                put(member[0]);
                return true;
            }
        }
        if (number && !row.has(layout::k_closed) && row.has(layout::k_plain) &&
            fits(*number, {INT32_MIN, INT32_MAX})) {
            put(static_cast<std::uint32_t>(number->bits));
            return true;
        }
        if (json.is_string())
            return complain(fmt::format("{} is wanted{}", describe_type(schema_, type),
                                        did_you_mean(json.get_ref<const std::string&>(), names)));
        return refuse(type, json);
    }

    // Bytes in one of the ways in which they can be written; `plain` reads a string.
    template <class Plain>
    static std::optional<ByteVector> bytes_of(const Json& json, Plain plain) {
        if (json.is_string()) return plain(json.get_ref<const std::string&>());
        if (!json.is_object() || json.size() != 1 || !json.begin().value().is_string()) return std::nullopt;
        const std::string& way = json.begin().key();
        const auto& text = json.begin().value().get_ref<const std::string&>();
        if (way == "base64") return from_base64(text);
        if (way == "hex") return from_hex(text);
        if (way == "text") return from_text(text);
        return std::nullopt;
    }

    static std::optional<ByteVector> from_text(const std::string& text) {
        const ByteView bytes = as_bytes(text);
        return ByteVector(bytes.begin(), bytes.end());
    }

    bool fixed_opaque(proto::TypeIndex type, const TypeRow& row, const Json& json) {
        const auto bytes = bytes_of(json, row.parameter(0) == k_uuid_bytes ? from_uuid : from_base64);
        if (!bytes && json.is_string())
            return complain(fmt::format("{} is wanted", describe_type(schema_, type)));
        if (!bytes) return refuse(type, json);
        if (bytes->size() != row.parameter(0))
            return complain(fmt::format("{} bytes are wanted, not {}", row.parameter(0), bytes->size()));
        put_padded(*bytes);
        return true;
    }

    bool put_counted(const ByteVector& bytes, std::uint32_t most) {
        if (bytes.size() > most)
            return complain(fmt::format("these are {} bytes, and {} is the most", bytes.size(), most));
        put(static_cast<std::uint32_t>(bytes.size()));
        put_padded(bytes);
        return true;
    }

    bool opaque(proto::TypeIndex type, const TypeRow& row, const Json& json) {
        const auto bytes = bytes_of(json, from_base64);
        if (!bytes && json.is_string()) return complain("this is not base64");
        if (!bytes) return refuse(type, json);
        return put_counted(*bytes, row.parameter(0));
    }

    bool string(proto::TypeIndex type, const TypeRow& row, const Json& json) {
        const auto bytes = bytes_of(json, from_text);
        if (!bytes) return refuse(type, json);
        for (const std::byte byte : *bytes) {
            const auto c = std::to_integer<unsigned>(byte);
            if (c == 0) return complain("a zero byte cannot be in a text");
            if (row.kind() == Kind::name && (c < 0x20 || c == 0x7f))
                return complain("a control character cannot be in a name");
        }
        return put_counted(*bytes, row.parameter(0));
    }

    // Lists of char are texts whose bytes travel in a word each.
    bool characters(proto::TypeIndex type, const TypeRow& row, const Json& json) {
        auto bytes = bytes_of(json, from_text);
        if (!bytes) return refuse(type, json);
        const std::uint32_t most = row.parameter(1);
        if (bytes->size() > most)
            return complain(fmt::format("these are {} bytes, and {} is the most", bytes->size(), most));
        if (row.kind() == Kind::fixed_array)
            bytes->resize(most);
        else
            put(static_cast<std::uint32_t>(bytes->size()));
        for (const std::byte byte : *bytes)
            put(static_cast<std::uint32_t>(static_cast<std::int8_t>(std::to_integer<unsigned char>(byte))));
        return true;
    }

    bool list(proto::TypeIndex type, const TypeRow& row, const Json& json) {
        if (TypeRow(schema_, row.parameter(0)).kind() == Kind::character) return characters(type, row, json);
        if (!json.is_array()) return refuse(type, json);
        const bool is_fixed = row.kind() == Kind::fixed_array;
        if (is_fixed ? json.size() != row.parameter(1) : json.size() > row.parameter(1))
            return complain(fmt::format("there are {} elements, and {}{}", json.size(), row.parameter(1),
                                        is_fixed ? " are wanted" : " is the most"));
        if (!is_fixed) put(static_cast<std::uint32_t>(json.size()));
        std::size_t number = 0;
        for (const Json& element : json)
            if (!inside(fmt::format("[{}]", number++), [&] { return value(row.parameter(0), element); }))
                return false;
        return true;
    }

    // Runs `build` for a part of what is built; the place says so meanwhile, and keeps saying so after a
    // complaint.
    template <class Build>
    bool inside(const std::string& part, Build build) {
        const std::size_t length = place_.size();
        place_ += part;
        if (!build()) return false;
        place_.resize(length);
        return true;
    }

    bool structure(proto::TypeIndex type, const TypeRow& row, const Json& json) {
        if (!json.is_object()) return refuse(type, json);
        std::vector<std::string_view> names;
        for (std::uint32_t i = 0; i < row.parameter(1); ++i) {
            const FieldRow field(schema_, row, i);
            names.push_back(field.name());
            if (lies_flat(schema_, type, i)) names.emplace_back("type");
        }
        // First, as a misspelt name is a missing one, too.
        if (!all_known(json, names, type)) return false;
        for (std::uint32_t i = 0; i < row.parameter(1); ++i) {
            const FieldRow field(schema_, row, i);
            if (lies_flat(schema_, type, i)) {
                if (!choose(field.type(), json)) return false;
                continue;
            }
            const std::string name(field.name());
            const auto member = json.find(name);
            if (!inside("." + name, [&] {
                    return member == json.end() ? leave_out(field) : value(field.type(), *member);
                }))
                return false;
        }
        return true;
    }

    bool leave_out(const FieldRow& field) {
        const TypeRow row(schema_, field.type());
        if (row.kind() == Kind::optional || (field.is_flags() && row.kind() == Kind::u32)) {
            put(0);
            return true;
        }
        if (field.is_flags() && row.kind() == Kind::u64) {
            put_wide(0);
            return true;
        }
        return complain(fmt::format("is missing: {} is wanted", describe_type(schema_, field.type())));
    }

    bool all_known(const Json& json, const std::vector<std::string_view>& names, proto::TypeIndex type) {
        for (const auto& [key, value] : json.items()) {
            if (std::find(names.begin(), names.end(), key) != names.end()) continue;
            const std::string_view of = schema_.text(TypeRow(schema_, type).name());
            std::string hint = did_you_mean(key, names);
            if (hint.empty() && names.size() <= k_names_shown)
                hint = fmt::format("; it has {}", fmt::join(names, ", "));
            return complain(
                fmt::format("{} has no member \"{}\"{}", of.empty() ? "this" : of, escape(key), hint));
        }
        return true;
    }

    // The discriminant that `json` says, by word or number.
    std::optional<std::uint32_t> discriminant_of(proto::TypeIndex type, const TypeRow& row,
                                                 const Json& json) {
        std::vector<std::string_view> words;
        for (std::uint32_t i = 0; i < row.parameter(2) && json.is_string(); ++i) {
            const std::uint32_t arm = row.parameter(1) + i;
            words.push_back(word_of_arm(schema_, type, arm));
            if (!words.back().empty() && json.get_ref<const std::string&>() == words.back())
                return schema_.row(Section::arms, arm)[0];
        }
        if (json.is_string()) {
            complain(fmt::format("one of {} is wanted{}", fmt::join(words, ", "),
                                 did_you_mean(json.get_ref<const std::string&>(), words)));
            return std::nullopt;
        }
        const std::size_t before = bytes_.size();
        if (!value(row.parameter(0), json)) return std::nullopt;
        const std::uint32_t word = load_be32(bytes_.data() + before);
        bytes_.resize(before);
        return word;
    }

    // Members "type" and "value" of `json`, whatever else is in it.
    bool choose(proto::TypeIndex type, const Json& json) {
        const TypeRow row(schema_, type);
        const auto said = json.find("type");
        if (said == json.end()) return complain("\"type\" is missing: which kind of value it is");
        const bool is_enumeration = TypeRow(schema_, row.parameter(0)).kind() == Kind::enumeration;
        std::uint32_t discriminant = 0;
        const bool understood = inside(".type", [&] {
            if (is_enumeration) {
                const std::size_t before = bytes_.size();
                if (!value(row.parameter(0), *said)) return false;
                discriminant = load_be32(bytes_.data() + before);
                bytes_.resize(before);
            } else {
                const auto found = discriminant_of(type, row, *said);
                if (!found) return false;
                discriminant = *found;
            }
            return find_arm(schema_, row, discriminant).exists || complain("there is no such type");
        });
        if (!understood) return false;
        put(discriminant);
        return fill_arm(type, find_arm(schema_, row, discriminant), json);
    }

    bool fill_arm(proto::TypeIndex type, const Arm& arm, const Json& json) {
        const auto given = json.find("value");
        if (arm.type == proto::k_void)
            return given == json.end() || given->is_null() || complain("this type has no value");
        if (given == json.end())
            return complain(
                fmt::format("\"value\" is missing: {} is wanted", describe_type(schema_, arm.type)));
        const bool says_boolean = given->is_boolean() && TypeRow(schema_, arm.type).kind() == Kind::i32 &&
                                  word_of_arm(schema_, type, arm.number) == k_boolean;
        if (says_boolean) {
            put(given->get<bool>() ? 1 : 0);
            return true;
        }
        return inside(".value", [&] { return value(arm.type, *given); });
    }

    const proto::Schema& schema_;
    std::string place_;
    std::string complaint_;
    ByteVector bytes_;
};

}  // namespace

tl::expected<ByteVector, std::string> to_payload(const proto::Schema& schema, proto::TypeIndex type,
                                                 const Json& json, std::string_view root) {
    if (type == proto::k_void) {
        if (json.is_null() || (json.is_object() && json.empty())) return ByteVector();
        return tl::make_unexpected(fmt::format("{}: nothing is wanted", root));
    }
    Builder builder(schema, root);
    if (!builder.value(type, json)) return tl::make_unexpected(builder.take_complaint());
    ByteVector payload = builder.take();
    // What no part says alone: products of counts, lists that belong together.
    const proto::Verdict verdict = proto::validate(schema, type, payload, proto::Extent::whole);
    if (verdict.flaw != proto::Flaw::none)
        return tl::make_unexpected(fmt::format("{}: {}", root, proto::to_text(verdict.flaw)));
    return payload;
}

}  // namespace virtgate::reflect
