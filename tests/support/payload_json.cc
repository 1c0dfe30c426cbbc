// SPDX-License-Identifier: LGPL-2.1-or-later
// payload_json - what a payload says, as JSON, read with nothing but the schema.
#include "tests/support/payload_json.h"

#include <string>

#include "libshared/base/bytes.h"
#include "libshared/xdr/reader.h"

namespace virtgate::test {

namespace {

using nlohmann::json;
using proto::layout::Kind;
using proto::layout::Section;

class JsonReader {
public:
    JsonReader(const proto::Schema& schema, std::span<const std::byte> payload)
        : schema_(schema), reader_(payload) {}

    json value(proto::TypeIndex type) {
        const std::uint32_t* row = schema_.row(Section::types, type);
        switch (static_cast<Kind>(row[0] & 0xff)) {
            case Kind::i32:
            case Kind::enumeration: return reader_.i32();
            case Kind::u32: return reader_.u32();
            case Kind::i64: return reader_.i64();
            case Kind::u64: return reader_.u64();
            case Kind::f32: return reader_.f32();
            case Kind::f64: return reader_.f64();
            case Kind::boolean: return reader_.boolean();
            case Kind::character: return static_cast<int>(static_cast<signed char>(reader_.character()));
            case Kind::u8: return reader_.u8();
            case Kind::i16: return reader_.i16();
            case Kind::u16: return reader_.u16();
            case Kind::fixed_opaque: {
                std::vector<std::byte> bytes(row[3]);
                reader_.fixed_opaque(bytes);
                return hex(bytes);
            }
            case Kind::opaque: return hex(reader_.opaque(row[3]));
            case Kind::string:
            case Kind::name: return std::string(reader_.string(row[3]));
            case Kind::structure: return structure(row);
            case Kind::choice: return choice(row);
            case Kind::optional: return reader_.boolean() ? value(row[3]) : json(nullptr);
            case Kind::array: return elements(row[3], reader_.count(row[4], 1));
            case Kind::fixed_array: return elements(row[3], row[4]);
        }
        return nullptr;
    }

private:
    static json hex(std::span<const std::byte> bytes) { return json{{"hex", to_hex(bytes)}}; }

    json structure(const std::uint32_t* row) {
        json object = json::object();
        for (std::uint32_t i = 0; i < row[4]; ++i) {
            const std::uint32_t* field = schema_.row(Section::fields, row[3] + i);
            object[std::string(schema_.text(field[1]))] = value(field[0] & proto::layout::k_type_mask);
        }
        return object;
    }

    json choice(const std::uint32_t* row) {
        const std::uint32_t discriminant = reader_.u32();
        proto::TypeIndex type = row[6];
        for (std::uint32_t i = 0; i < row[5]; ++i) {
            const std::uint32_t* arm = schema_.row(Section::arms, row[4] + i);
            if (arm[0] == discriminant) type = arm[1];
        }
        json pair = json::array({static_cast<std::int32_t>(discriminant)});
        pair.push_back(type < schema_.type_count() ? value(type) : json(nullptr));
        return pair;
    }

    json elements(proto::TypeIndex type, std::uint32_t count) {
        json list = json::array();
        for (std::uint32_t i = 0; i < count && reader_.ok(); ++i) list.push_back(value(type));
        return list;
    }

    const proto::Schema& schema_;
    xdr::Reader reader_;
};

}  // namespace

json payload_json(const proto::Schema& schema, proto::TypeIndex type, std::span<const std::byte> payload) {
    return JsonReader(schema, payload).value(type);
}

}  // namespace virtgate::test
