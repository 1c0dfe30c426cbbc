// SPDX-License-Identifier: LGPL-2.1-or-later
// reflect - tests of payloads as JSON: every type there and back, what people may write, complaints.
#include "libshared/reflect/json.h"

#include <criterion/criterion.h>

#include <bit>
#include <nlohmann/json.hpp>
#include <random>

#include "libshared/reflect/catalogue.h"
#include "libshared/reflect/description.h"
#include "libshared/reflect/encoding.h"
#include "libshared/reflect/rows.h"
#include "proto/programs.h"

using namespace virtgate;
using namespace virtgate::reflect;

namespace {

// Makes random payloads of a type: short lists, and now and then an edge.
class Maker {
public:
    Maker(const proto::Schema& schema, std::uint32_t seed) : schema_(schema), random_(seed) {}

    ByteVector make(proto::TypeIndex type) {
        bytes_.clear();
        value(type);
        return bytes_;
    }

private:
    std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>(random_() % bound); }

    void put(std::uint32_t word) {
        bytes_.resize(bytes_.size() + 4);
        store_be32(bytes_.data() + bytes_.size() - 4, word);
    }

    std::uint64_t edge() {
        constexpr std::uint64_t k_edges[] = {0,
                                             1,
                                             INT32_MAX,
                                             UINT32_MAX,
                                             std::uint64_t{1} << 53,
                                             INT64_MAX,
                                             UINT64_MAX,
                                             0x8000000000000000,
                                             0x80000000,
                                             0x7ff8000000000000,
                                             0xfff8000000000001};
        return below(3) == 0 ? random_() : k_edges[below(std::size(k_edges))];
    }

    void number(const TypeRow& row, bool is_wide) {
        std::uint64_t value = edge();
        if (row.has(layout::k_ranged)) value = row.wide(0) + value % (row.wide(2) - row.wide(0) + 1);
        if (is_wide) put(static_cast<std::uint32_t>(value >> 32));
        put(static_cast<std::uint32_t>(value));
    }

    void text(std::uint32_t size, bool is_text) {
        for (std::uint32_t i = 0; i < size; ++i) {
            // Some of it is no UTF-8.
            const std::uint32_t c = !is_text         ? below(256)
                                    : below(40) == 0 ? 0x80 + below(128)
                                                     : 0x20 + below(0x5f);
            bytes_.push_back(static_cast<std::byte>(c));
        }
        bytes_.resize((bytes_.size() + 3) & ~std::size_t{3});
    }

    void value(proto::TypeIndex type) {
        const TypeRow row(schema_, type);
        const auto size = [&](std::uint32_t most) { return std::min(most, below(6) == 0 ? 0 : below(9)); };
        switch (row.kind()) {
            case Kind::i32:
            case Kind::u32:
            case Kind::f32: return number(row, false);
            case Kind::i64:
            case Kind::u64:
            case Kind::f64: return number(row, true);
            case Kind::boolean: return put(below(2));
            case Kind::character:
                return put(static_cast<std::uint32_t>(static_cast<std::int8_t>(below(256))));
            case Kind::u8: return put(below(256));
            case Kind::i16: return put(static_cast<std::uint32_t>(static_cast<std::int16_t>(below(65536))));
            case Kind::u16: return put(below(65536));
            case Kind::enumeration:
                if (!row.has(layout::k_closed) && below(4) == 0)
                    return put(static_cast<std::uint32_t>(edge()));
                return put(schema_.row(Section::members, row.parameter(0) + below(row.parameter(1)))[0]);
            case Kind::fixed_opaque: return text(row.parameter(0), false);
            case Kind::opaque:
            case Kind::string:
            case Kind::name: {
                const std::uint32_t length = size(row.parameter(0));
                put(length);
                return text(length, row.kind() != Kind::opaque);
            }
            case Kind::structure:
                for (std::uint32_t i = 0; i < row.parameter(1); ++i) value(FieldRow(schema_, row, i).type());
                return;
            case Kind::choice: {
                const std::uint32_t* arm =
                    schema_.row(Section::arms, row.parameter(1) + below(row.parameter(2)));
                put(arm[0]);
                if (arm[1] != proto::k_void) value(arm[1]);
                return;
            }
            case Kind::optional: {
                const bool there = below(2) == 0;
                put(there ? 1 : 0);
                if (there) value(row.parameter(0));
                return;
            }
            case Kind::array:
            case Kind::fixed_array: {
                const bool is_fixed = row.kind() == Kind::fixed_array;
                const std::uint32_t elements =
                    is_fixed ? row.parameter(1) : std::min(row.parameter(1), below(4));
                if (!is_fixed) put(elements);
                for (std::uint32_t i = 0; i < elements; ++i) value(row.parameter(0));
                return;
            }
        }
    }

    const proto::Schema& schema_;
    std::mt19937_64 random_;
    ByteVector bytes_;
};

void expect_round_trip(const proto::Schema& schema, proto::TypeIndex type, const ByteVector& payload) {
    const auto json = to_json(schema, type, payload);
    cr_assert(json.has_value());
    for (const Layout layout : {Layout::line, Layout::indented}) {
        const std::string text = print(*json, layout);
        const auto read = parse(text);
        cr_assert(read.has_value(), "%s", text.c_str());
        const auto back = to_payload(schema, type, *read, "value");
        cr_assert(back.has_value(), "%s of %s", back.has_value() ? "" : back.error().c_str(), text.c_str());
        cr_assert(*back == payload, "%s", text.c_str());
    }
}

proto::TypeIndex type_of(std::string_view name) {
    const proto::TypeIndex type = proto::remote_program().schema.find_type(name);
    cr_assert(type != proto::k_void, "no type %.*s", static_cast<int>(name.size()), name.data());
    return type;
}

const Catalogue& catalogue() {
    static const Catalogue k_catalogue;
    return k_catalogue;
}

// What to_payload() has against the arguments `text` of a procedure; empty: nothing.
std::string complaint_about(std::string_view procedure, std::string_view text) {
    const auto entry = catalogue().find(procedure);
    cr_assert(entry.has_value(), "%s", entry.has_value() ? "" : entry.error().c_str());
    const auto json = parse(text);
    cr_assert(json.has_value());
    const auto payload = to_payload(entry->program->schema, entry->procedure->args, *json, "args");
    return payload ? std::string() : payload.error();
}

void expect_same(std::string_view one, std::string_view other) {
    cr_assert(one == other, "%s", std::string(one).c_str());
}

constexpr char k_domain[] =
    R"({"domain": {"name": "web", "uuid": "c7a5fdbd-edaf-9455-926a-d65c16db1809", "id": 3}})";

}  // namespace

Test(reflect, every_type_of_every_program_goes_there_and_back) {
    for (const proto::ProgramInfo* program : proto::all_programs()) {
        for (proto::TypeIndex type = 0; type < program->schema.type_count(); ++type) {
            Maker maker(program->schema, 7 * type + program->number);
            int good = 0;
            for (int i = 0; i < 24; ++i) {
                ByteVector payload = maker.make(type);
                // Relations between fields are beyond the maker; of those a few fit by chance.
                if (proto::validate(program->schema, type, payload, proto::Extent::whole).flaw !=
                    proto::Flaw::none)
                    continue;
                ++good;
                expect_round_trip(program->schema, type, payload);
            }
            cr_assert(good > 0, "no payload of type %u of %s", type, std::string(program->name).c_str());
        }
    }
}

Test(reflect, a_template_can_be_sent) {
    for (const proto::ProgramInfo* program : proto::all_programs()) {
        for (const proto::ProcedureInfo& procedure : program->procedures()) {
            const auto payload = to_payload(program->schema, procedure.args,
                                            make_template(program->schema, procedure.args), "args");
            cr_assert(payload.has_value(), "%s: %s", std::string(procedure.name).c_str(),
                      payload.error().c_str());
            const std::string text = describe_procedure(*program, procedure);
            cr_assert(!text.empty() && text.find(",\n") == std::string::npos, "%s", text.c_str());
            cr_assert(describe_procedure_json(*program, procedure).at("number") == procedure.number);
        }
    }
}

Test(reflect, whatever_is_written_is_refused_with_its_place_or_means_something) {
    constexpr std::string_view k_letters = "{}[]\",:0123456789-eE.trufalsn\\ ";
    std::mt19937 random(11);
    int refused = 0, taken = 0;
    for (const proto::ProgramInfo* program : proto::all_programs()) {
        for (const proto::ProcedureInfo& procedure : program->procedures()) {
            const std::string whole = print(make_template(program->schema, procedure.args), Layout::line);
            for (int round = 0; round < 40; ++round) {
                std::string text = whole;
                for (unsigned edits = 1 + random() % 3; edits > 0; --edits)
                    text[random() % text.size()] = k_letters[random() % k_letters.size()];
                const auto json = parse(text);
                if (!json) continue;
                const auto payload = to_payload(program->schema, procedure.args, *json, "args");
                if (payload) {
                    ++taken;
                    if (procedure.args != proto::k_void)
                        expect_round_trip(program->schema, procedure.args, *payload);
                } else {
                    ++refused;
                    cr_assert(payload.error().starts_with("args"), "%s", payload.error().c_str());
                }
            }
        }
    }
    cr_assert(refused > 100 && taken > 100, "%d refused, %d taken", refused, taken);
}

Test(reflect, values_read_as_people_expect) {
    const auto entry = catalogue().find("domain_get_info");
    const auto json = parse(k_domain);
    const auto payload = to_payload(entry->program->schema, entry->procedure->args, *json, "args");
    cr_assert(payload.has_value());
    expect_same(print(*to_json(entry->program->schema, entry->procedure->args, *payload), Layout::line),
                print(*json, Layout::line));
    const auto& schema = proto::remote_program().schema;
    const auto parameter = type_of("TypedParam");
    for (const char* text :
         {R"({"field":"weight","type":"uint","value":800})", R"({"field":"x","type":"boolean","value":true})",
          R"({"field":"m","type":"ullong","value":18446744073709551615})",
          R"({"field":"d","type":"double","value":-0.0})", R"({"field":"d","type":"double","value":"nan"})",
          R"({"field":"s","type":"string","value":"two\nlines"})",
          R"({"field":"s","type":"string","value":{"base64":"gA=="}})"}) {
        const auto bytes = to_payload(schema, parameter, *parse(text), "param");
        cr_assert(bytes.has_value(), "%s", bytes.error().c_str());
        expect_same(print(*to_json(schema, parameter, *bytes), Layout::line), text);
    }
    // The same in other words.
    const auto wanted =
        to_payload(schema, parameter, *parse(R"({"field":"a","type":"llong","value":-5})"), "param");
    for (const char* text :
         {R"({"field":"a","type":3,"value":"-5"})", R"({"value":-5,"type":"llong","field":{"hex":"61"}})"})
        cr_assert(to_payload(schema, parameter, *parse(text), "param") == wanted, "%s", text);
}

Test(reflect, complaints_name_the_place_and_what_is_wanted) {
    expect_same(complaint_about("domain_get_info", k_domain), "");
    expect_same(complaint_about("domain_get_info", R"({"domain": {"name": "web", "uuid": 7, "id": 3}})"),
                "args.domain.uuid: a UUID is wanted, not a number");
    expect_same(complaint_about("domain_get_info", R"({"domain": {"name": "web", "uuid": "c7", "id": 3}})"),
                "args.domain.uuid: a UUID is wanted");
    expect_same(complaint_about("domain_get_info", R"({"domian": {}})"),
                "args: DomainGetInfoArgs has no member \"domian\" (did you mean \"domain\"?)");
    expect_same(complaint_about("domain_get_info", "{}"), "args.domain: is missing: a Domain is wanted");
    expect_same(complaint_about("domain_lookup_by_id", R"({"id": 2147483648})"),
                "args.id: a number (int) is wanted, and this number is beyond it");
    expect_same(complaint_about("domain_lookup_by_id", R"({"id": 1.5})"),
                "args.id: a number (int) is wanted, not a number");
    expect_same(complaint_about("domain_lookup_by_name", R"({"name": "a\u0000b"})"),
                "args.name: a zero byte cannot be in a text");
    expect_same(complaint_about("domain_lookup_by_name", "[]"),
                "args: a DomainLookupByNameArgs is wanted, not an array");
    expect_same(complaint_about("connect_get_lib_version", R"({"a": 1})"), "args: nothing is wanted");
    const std::string parameters = R"({"params": [{"field": "w", "type": "unit", "value": 1}], "flags": 0})";
    expect_same(complaint_about("node_set_memory_parameters", parameters),
                "args.params[0].type: one of int, uint, llong, ullong, double, boolean, string is wanted "
                "(did you mean "
                "\"uint\"?)");
    expect_same(complaint_about("node_set_memory_parameters",
                                R"({"params": [{"field": "w", "type": "uint", "value": -1}]})"),
                "args.params[0].value: a number (unsigned int) is wanted, and this number is beyond it");
}

Test(reflect, what_is_no_payload_is_no_json) {
    const auto entry = catalogue().find("remote.domain_lookup_by_name");
    ByteVector payload =
        *to_payload(entry->program->schema, entry->procedure->args, *parse(R"({"name": "web"})"), "args");
    payload.pop_back();
    cr_assert(to_json(entry->program->schema, entry->procedure->args, payload).error().flaw ==
              proto::Flaw::truncated);
    expect_same(parse("{\n  \"a\": x}").error(), "no JSON: line 2, column 8 is not what should be there");
    cr_assert(!parse(""));
}

Test(reflect, procedures_are_found_by_name_and_number) {
    cr_assert(catalogue().find("remote.16")->procedure == catalogue().find("domain_get_info")->procedure);
    cr_assert(catalogue().find("lock.acquire_resource")->program == &proto::lock_program());
    expect_same(
        catalogue().find("remote.domain_get_inof").error(),
        "the program remote has no procedure \"domain_get_inof\" (did you mean \"domain_get_info\"?)");
    expect_same(catalogue().find("romote.x").error(),
                "there is no program \"romote\" (did you mean \"remote\"?)");
    Catalogue more;
    cr_assert(!more.add_file("/dev/null"));
}

Test(reflect, bytes_as_text) {
    std::mt19937 random(3);
    for (std::size_t size = 0; size < 40; ++size) {
        ByteVector bytes(size);
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
        cr_assert(from_base64(to_base64(bytes)) == bytes);
        cr_assert(from_hex(to_hex(bytes)) == bytes);
    }
    for (const char* text : {"a", "ab=", "=aaa", "aa=a", "aB==", "a b=", "====", "aaa="})
        cr_assert(!from_base64(text) || std::string_view(text) == "aaa=", "%s", text);
    for (const char* text :
         {"\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3", "\xff"})
        cr_assert(!is_utf8(text), "%s", text);
    cr_assert(is_utf8("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \n"));
}
