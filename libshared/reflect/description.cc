// SPDX-License-Identifier: LGPL-2.1-or-later
// description - types and procedures in words, and a JSON value to begin with.
#include "libshared/reflect/description.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "libshared/reflect/encoding.h"
#include "libshared/reflect/rows.h"

namespace virtgate::reflect {

namespace {

std::string describe_integer(const TypeRow& row, std::string_view name) {
    if (!row.has(layout::k_ranged)) return fmt::format("a number ({})", name);
    const bool is_signed = row.kind() == Kind::i32 || row.kind() == Kind::i64;
    if (is_signed)
        return fmt::format("a number from {} to {}", static_cast<std::int64_t>(row.wide(0)),
                           static_cast<std::int64_t>(row.wide(2)));
    return fmt::format("a number from {} to {}", row.wide(0), row.wide(2));
}

std::string describe_enumeration(const proto::Schema& schema, const TypeRow& row) {
    std::vector<std::string_view> names;
    for (std::uint32_t i = 0; i < row.parameter(1); ++i)
        names.push_back(schema.text(schema.row(Section::members, row.parameter(0) + i)[1]));
    return fmt::format("one of {}", fmt::join(names, ", "));
}

// "a Domain", "an Interface".
std::string with_article(std::string_view name) {
    const bool vowel =
        !name.empty() && std::string_view("AEIOaeio").find(name.front()) != std::string_view::npos;
    return fmt::format("{} {}", vowel ? "an" : "a", name);
}

std::string describe_choice(const proto::Schema& schema, proto::TypeIndex type, const TypeRow& row) {
    std::vector<std::string_view> words;
    for (std::uint32_t i = 0; i < row.parameter(2); ++i)
        words.push_back(word_of_arm(schema, type, row.parameter(1) + i));
    return fmt::format("\"type\" and \"value\", of type {}", fmt::join(words, ", "));
}

// At the end of a line, where the comma before the rest of a sentence is in the way.
std::string describe_alone(const proto::Schema& schema, proto::TypeIndex type) {
    std::string text = describe_type(schema, type);
    if (text.ends_with(',')) text.pop_back();
    return text;
}

// Lines for the parts of a type, each `indent` columns from the left.
void describe_parts(const proto::Schema& schema, proto::TypeIndex type, std::size_t indent,
                    std::string& out) {
    const TypeRow row(schema, type);
    switch (row.kind()) {
        case Kind::optional:
        case Kind::array:
        case Kind::fixed_array: return describe_parts(schema, row.parameter(0), indent, out);
        case Kind::choice:
            for (std::uint32_t i = 0; i < row.parameter(2); ++i) {
                const Arm arm{true, row.parameter(1) + i, schema.row(Section::arms, row.parameter(1) + i)[1]};
                out += fmt::format("{:{}}of type {}: {}\n", "", indent, word_of_arm(schema, type, arm.number),
                                   arm.type == proto::k_void ? "no value" : describe_alone(schema, arm.type));
            }
            return;
        case Kind::structure: break;
        default: return;
    }
    for (std::uint32_t i = 0; i < row.parameter(1); ++i) {
        const FieldRow field(schema, row, i);
        out += fmt::format(
            "{:{}}{}: {}{}\n", "", indent,
            lies_flat(schema, type, i) ? std::string("type, value") : std::string(field.name()),
            describe_alone(schema, field.type()), field.is_flags() ? ", flag bits; 0 if it is left out" : "");
        describe_parts(schema, field.type(), indent + 2, out);
    }
}

std::string name_type(const proto::Schema& schema, proto::TypeIndex type) {
    return type == proto::k_void ? "nothing" : std::string(schema.text(TypeRow(schema, type).name()));
}

std::vector<std::string> list_rights(std::span<const proto::Rule> rules) {
    std::vector<std::string> rights;
    for (const proto::Rule& rule : rules) {
        std::string conditions;
        for (const proto::Test& test : rule.when) {
            const std::string_view how = test.kind == layout::TestKind::has     ? "has"
                                         : test.kind == layout::TestKind::lacks ? "lacks"
                                                                                : "is";
            conditions +=
                fmt::format("{}{} {} {}", conditions.empty() ? " if " : " or ", test.path, how, test.value);
        }
        rights.push_back(fmt::format("{}:{}{}", rule.object, rule.permission, conditions));
    }
    return rights;
}

std::string_view describe_readonly(const proto::ProcedureInfo& procedure) {
    switch (procedure.readonly) {
        case proto::ReadOnly::allowed: return "reads only";
        case proto::ReadOnly::conditional: return "reads only, with some arguments";
        case proto::ReadOnly::refused: break;
    }
    return "may change something";
}

std::string_view describe_stream(const proto::ProcedureInfo& procedure) {
    switch (procedure.stream) {
        case proto::Stream::read: return "the server sends data";
        case proto::Stream::write: return "the server takes data";
        case proto::Stream::none: break;
    }
    return "";
}

Json template_of_choice(const proto::Schema& schema, proto::TypeIndex type, const TypeRow& row) {
    Json object = Json::object();
    const std::uint32_t* const arm = schema.row(Section::arms, row.parameter(1));
    const std::string_view word = word_of_arm(schema, type, row.parameter(1));
    object["type"] = word.empty() ? Json(arm[0]) : Json(word);
    if (arm[1] != proto::k_void) object["value"] = make_template(schema, arm[1]);
    return object;
}

Json template_of_structure(const proto::Schema& schema, proto::TypeIndex type, const TypeRow& row) {
    Json object = Json::object();
    for (std::uint32_t i = 0; i < row.parameter(1); ++i) {
        const FieldRow field(schema, row, i);
        if (lies_flat(schema, type, i))
            object.update(template_of_choice(schema, field.type(), TypeRow(schema, field.type())));
        else
            object[std::string(field.name())] = make_template(schema, field.type());
    }
    return object;
}

}  // namespace

std::string describe_type(const proto::Schema& schema, proto::TypeIndex type) {
    const TypeRow row(schema, type);
    switch (row.kind()) {
        case Kind::i32: return describe_integer(row, "int");
        case Kind::u32: return describe_integer(row, "unsigned int");
        case Kind::i64: return describe_integer(row, "64 bits, signed");
        case Kind::u64: return describe_integer(row, "64 bits, unsigned");
        case Kind::f32:
        case Kind::f64: return "a number, with a fraction or without,";
        case Kind::boolean: return "true or false";
        case Kind::character: return "a number from -128 to 127";
        case Kind::u8: return "a number from 0 to 255";
        case Kind::i16: return "a number (short)";
        case Kind::u16: return "a number (unsigned short)";
        case Kind::enumeration: return describe_enumeration(schema, row);
        case Kind::fixed_opaque:
            return row.parameter(0) == k_uuid_bytes ? "a UUID"
                                                    : fmt::format("{} bytes in base64", row.parameter(0));
        case Kind::opaque: return fmt::format("bytes in base64, at most {},", row.parameter(0));
        case Kind::string: return "a text";
        case Kind::name: return "a name";
        case Kind::structure: return with_article(schema.text(row.name()));
        case Kind::choice: return describe_choice(schema, type, row);
        case Kind::optional: return describe_type(schema, row.parameter(0)) + ", or null,";
        case Kind::array:
        case Kind::fixed_array:
            if (TypeRow(schema, row.parameter(0)).kind() == Kind::character)
                return fmt::format("a text of at most {} bytes", row.parameter(1));
            return fmt::format("a list of {} {}, each {}", row.kind() == Kind::array ? "at most" : "exactly",
                               row.parameter(1), describe_type(schema, row.parameter(0)));
    }
    return "something";
}

Json make_template(const proto::Schema& schema, proto::TypeIndex type) {
    if (type == proto::k_void) return Json::object();
    const TypeRow row(schema, type);
    switch (row.kind()) {
        case Kind::boolean: return false;
        case Kind::f32:
        case Kind::f64: return 0.0;
        case Kind::enumeration:
            return std::string(schema.text(schema.row(Section::members, row.parameter(0))[1]));
        case Kind::fixed_opaque: {
            const ByteVector zeros(row.parameter(0));
            return zeros.size() == k_uuid_bytes ? to_uuid(zeros) : to_base64(zeros);
        }
        case Kind::opaque:
        case Kind::string:
        case Kind::name: return "";
        case Kind::structure: return template_of_structure(schema, type, row);
        case Kind::choice: return template_of_choice(schema, type, row);
        case Kind::optional: return nullptr;
        case Kind::array:
        case Kind::fixed_array: {
            if (TypeRow(schema, row.parameter(0)).kind() == Kind::character) return "";
            const std::uint32_t elements =
                row.kind() == Kind::array ? std::min(1U, row.parameter(1)) : row.parameter(1);
            return Json(elements, make_template(schema, row.parameter(0)));
        }
        default: return row.has(layout::k_ranged) ? Json(row.wide(0)) : Json(0);
    }
}

std::string describe_procedure(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure) {
    const bool is_event = procedure.kind == proto::ProcedureInfo::Kind::event;
    std::string out = fmt::format("{}.{} ({} {})\n", program.name, procedure.name,
                                  is_event ? "event" : "procedure", procedure.number);
    if (!procedure.prose.empty()) out += fmt::format("  {}\n", procedure.prose);
    if (!is_event) out += fmt::format("  {}\n", describe_readonly(procedure));
    if (const auto rights = list_rights(procedure.rules); !rights.empty())
        out += fmt::format("  needs {}\n", fmt::join(rights, ", "));
    if (const auto filters = list_rights(procedure.filters); !filters.empty())
        out += fmt::format("  shows what one has {} for\n", fmt::join(filters, ", "));
    if (procedure.stream != proto::Stream::none)
        out += fmt::format("  opens a stream: {}\n", describe_stream(procedure));
    if (procedure.fds_call_max > 0) out += "  takes file descriptors\n";
    if (procedure.fds_reply_max > 0) out += "  returns file descriptors\n";
    if (!procedure.since.empty()) out += fmt::format("  since libvirt {}\n", procedure.since);
    const proto::Schema& schema = program.schema;
    out += fmt::format("\n{}: {}\n", is_event ? "carries" : "arguments", name_type(schema, procedure.args));
    if (procedure.args != proto::k_void) describe_parts(schema, procedure.args, 2, out);
    if (is_event) return out;
    out += fmt::format("\nresult: {}\n", name_type(schema, procedure.ret));
    if (procedure.ret != proto::k_void) describe_parts(schema, procedure.ret, 2, out);
    if (procedure.args != proto::k_void)
        out += fmt::format("\ntemplate:\n{}\n", print(make_template(schema, procedure.args), Layout::line));
    return out;
}

Json describe_procedure_json(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure) {
    const proto::Schema& schema = program.schema;
    const bool is_event = procedure.kind == proto::ProcedureInfo::Kind::event;
    const auto type_or_null = [&](proto::TypeIndex type) {
        return type == proto::k_void ? Json(nullptr) : Json(name_type(schema, type));
    };
    Json json = {{"program", program.name},
                 {"procedure", procedure.name},
                 {"number", procedure.number},
                 {"kind", is_event ? "event" : "call"},
                 {"description", procedure.prose},
                 {"read_only", procedure.readonly == proto::ReadOnly::allowed       ? Json(true)
                               : procedure.readonly == proto::ReadOnly::conditional ? Json("conditional")
                                                                                    : Json(false)},
                 {"rights", list_rights(procedure.rules)},
                 {"filters", list_rights(procedure.filters)},
                 {"stream", procedure.stream == proto::Stream::read    ? Json("read")
                            : procedure.stream == proto::Stream::write ? Json("write")
                                                                       : Json(nullptr)},
                 {"arguments", type_or_null(procedure.args)},
                 {"result", type_or_null(procedure.ret)},
                 {"template", make_template(schema, procedure.args)},
                 {"result_template", make_template(schema, procedure.ret)}};
    return json;
}

}  // namespace virtgate::reflect
