// SPDX-License-Identifier: LGPL-2.1-or-later
// json - payloads as JSON, and what both directions know of a schema.
#include "libshared/reflect/json.h"

#include <array>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "libshared/reflect/encoding.h"
#include "libshared/reflect/rows.h"

namespace virtgate::reflect {

namespace {

// Of the arms of a typed parameter, as libvirt's tools call its types.
constexpr std::array<std::pair<std::string_view, std::string_view>, 7> k_libvirts_words{
    {{"signed_int", "int"},
     {"unsigned_int", "uint"},
     {"signed_hyper", "llong"},
     {"unsigned_hyper", "ullong"},
     {"real", "double"},
     {"boolean", "boolean"},
     {"text", "string"}}};

// Walks a payload that passed validate(), so that everything it looks at is there.
class Printer {
public:
    Printer(const proto::Schema& schema, ByteView payload) : schema_(schema), next_(payload.data()) {}

    Json value(proto::TypeIndex type) {
        const TypeRow row(schema_, type);
        switch (row.kind()) {
            case Kind::i32:
            case Kind::i16: return static_cast<std::int32_t>(word());
            case Kind::character: return static_cast<std::int32_t>(word());
            case Kind::u32:
            case Kind::u8:
            case Kind::u16: return word();
            case Kind::i64: return static_cast<std::int64_t>(wide());
            case Kind::u64: return wide();
            case Kind::f32: return real(static_cast<double>(std::bit_cast<float>(word())));
            case Kind::f64: return real(std::bit_cast<double>(wide()));
            case Kind::boolean: return word() != 0;
            case Kind::enumeration: return member(row, word());
            case Kind::fixed_opaque: return opaque(bytes(row.parameter(0)));
            case Kind::opaque: return to_base64(bytes(word()));
            case Kind::string:
            case Kind::name: return text(as_text(bytes(word())));
            case Kind::structure: return structure(type, row);
            case Kind::choice: {
                Json object = Json::object();
                choose(type, object);
                return object;
            }
            case Kind::optional: return word() == 0 ? Json(nullptr) : value(row.parameter(0));
            case Kind::array: return list(row, word());
            case Kind::fixed_array: return list(row, row.parameter(1));
        }
        return nullptr;
    }

private:
    std::uint32_t word() {
        const std::uint32_t value = load_be32(next_);
        next_ += 4;
        return value;
    }

    std::uint64_t wide() {
        const std::uint64_t value = load_be64(next_);
        next_ += 8;
        return value;
    }

    ByteView bytes(std::uint32_t size) {
        const ByteView view(next_, size);
        next_ += size + (4 - size % 4) % 4;
        return view;
    }

    // The sign of zero and the payload of a NaN are told apart, so that the way back leads to the same bytes.
    static Json real(double value) {
        if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
        if (!std::isnan(value)) return value;
        const auto bits = std::bit_cast<std::uint64_t>(value);
        if (bits == k_nan) return "nan";
        std::array<std::byte, 8> big;
        store_be32(big.data(), static_cast<std::uint32_t>(bits >> 32));
        store_be32(big.data() + 4, static_cast<std::uint32_t>(bits));
        return "nan:" + to_hex(big);
    }

    Json member(const TypeRow& row, std::uint32_t value) const {
        for (std::uint32_t i = 0; i < row.parameter(1); ++i) {
            const std::uint32_t* one = schema_.row(Section::members, row.parameter(0) + i);
            if (one[0] == value) return std::string(schema_.text(one[1]));
        }
        return static_cast<std::int32_t>(value);
    }

    static Json opaque(ByteView bytes) {
        return bytes.size() == k_uuid_bytes ? to_uuid(bytes) : to_base64(bytes);
    }

    static Json text(std::string_view text) {
        if (is_utf8(text)) return std::string(text);
        return {{"base64", to_base64(as_bytes(text))}};
    }

    Json structure(proto::TypeIndex type, const TypeRow& row) {
        Json object = Json::object();
        for (std::uint32_t i = 0; i < row.parameter(1); ++i) {
            const FieldRow field(schema_, row, i);
            if (lies_flat(schema_, type, i))
                choose(field.type(), object);
            else
                object.emplace(field.name(), value(field.type()));
        }
        return object;
    }

    void choose(proto::TypeIndex type, Json& object) {
        const TypeRow row(schema_, type);
        const std::uint32_t discriminant = word();
        const Arm arm = find_arm(schema_, row, discriminant);
        const TypeRow kind(schema_, row.parameter(0));
        const std::string_view arm_word = word_of_arm(schema_, type, arm.number);
        if (kind.kind() == Kind::enumeration)
            object.emplace("type", member(kind, discriminant));
        else if (!arm_word.empty())
            object.emplace("type", arm_word);
        else if (kind.kind() == Kind::boolean)
            object.emplace("type", discriminant != 0);
        else if (kind.kind() == Kind::u32)
            object.emplace("type", discriminant);
        else
            object.emplace("type", static_cast<std::int32_t>(discriminant));
        if (arm.type == proto::k_void) return;
        if (arm_word == k_boolean && TypeRow(schema_, arm.type).kind() == Kind::i32 && load_be32(next_) <= 1)
            object.emplace("value", word() != 0);
        else
            object.emplace("value", value(arm.type));
    }

    Json list(const TypeRow& row, std::uint32_t elements) {
        if (TypeRow(schema_, row.parameter(0)).kind() == Kind::character) return characters(row, elements);
        Json array = Json::array();
        for (std::uint32_t i = 0; i < elements; ++i) array.push_back(value(row.parameter(0)));
        return array;
    }

    Json characters(const TypeRow& row, std::uint32_t elements) {
        std::string all;
        for (std::uint32_t i = 0; i < elements; ++i) all += static_cast<char>(word());
        if (row.kind() == Kind::fixed_array)
            while (!all.empty() && all.back() == '\0') all.pop_back();
        return text(all);
    }

    const proto::Schema& schema_;
    const std::byte* next_;
};

}  // namespace

std::string_view word_of_arm(const proto::Schema& schema, proto::TypeIndex choice,
                             std::uint32_t arm) noexcept {
    if (arm == layout::k_none) return {};
    const std::string_view name = schema.text(schema.row(Section::arms, arm)[2]);
    const TypeRow row(schema, choice);
    for (std::uint32_t i = 0; i < row.parameter(2); ++i) {
        const std::uint32_t other = row.parameter(1) + i;
        if (other != arm && schema.text(schema.row(Section::arms, other)[2]) == name) return {};
    }
    for (const auto& [ours, libvirts] : k_libvirts_words)
        if (name == ours) return libvirts;
    return name;
}

bool lies_flat(const proto::Schema& schema, proto::TypeIndex structure, std::uint32_t field) noexcept {
    const TypeRow row(schema, structure);
    const FieldRow last(schema, row, field);
    if (field + 1 != row.parameter(1) || last.name() != "value" ||
        TypeRow(schema, last.type()).kind() != Kind::choice)
        return false;
    for (std::uint32_t i = 0; i < field; ++i)
        if (FieldRow(schema, row, i).name() == "type") return false;
    return true;
}

tl::expected<Json, proto::Verdict> to_json(const proto::Schema& schema, proto::TypeIndex type,
                                           ByteView payload) {
    ByteVector canonical(payload.begin(), payload.end());
    const proto::Verdict verdict = proto::validate(schema, type, canonical, proto::Extent::whole);
    if (verdict.flaw != proto::Flaw::none) return tl::make_unexpected(verdict);
    if (type == proto::k_void) return Json(nullptr);
    return Printer(schema, canonical).value(type);
}

tl::expected<Json, std::string> parse(std::string_view text) {
    try {
        return Json::parse(text);
    } catch (const Json::parse_error& error) {
        std::size_t line = 1, column = 1;
        for (const char c : text.substr(0, error.byte == 0 ? 0 : error.byte - 1)) {
            column = c == '\n' ? 1 : column + 1;
            line += c == '\n' ? 1 : 0;
        }
        return tl::make_unexpected("no JSON: line " + std::to_string(line) + ", column " +
                                   std::to_string(column) + " is not what should be there");
    } catch (const Json::out_of_range&) {
        return tl::make_unexpected("no JSON: a number is too large");
    }
}

std::string print(const Json& json, Layout layout) {
    return json.dump(layout == Layout::line ? -1 : 2, ' ', true, Json::error_handler_t::replace);
}

}  // namespace virtgate::reflect
