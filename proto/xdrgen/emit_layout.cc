// SPDX-License-Identifier: LGPL-2.1-or-later
// emit_layout - write NAME.layout: what a change of the .x would change on the wire or in the rights.
//
// A structure is flattened down to what travels. The offset of a part is known up to the first part of variable size;
// after that it is "~".
#include <fmt/format.h>

#include <iterator>

#include "proto/xdrgen/emit.h"

namespace virtgate::proto::xdrgen {

namespace {

class LayoutWriter {
public:
    LayoutWriter(const Model& model, const Module& module) : model_(model), module_(module) {}

    std::string run() {
        line("# What {}.x puts on the wire. A change is accepted with \"make accept-layout\".", module_.name);
        for (const TypeId id : module_.types) write_type(model_.types[id]);
        for (const Program* program : versions_of(module_)) write_program(*program);
        return std::move(out_);
    }

private:
    template <class... A>
    void line(fmt::format_string<A...> format, A&&... arguments) {
        fmt::format_to(std::back_inserter(out_), format, std::forward<A>(arguments)...);
        out_ += '\n';
    }

    [[nodiscard]] static std::string size(std::uint32_t bytes) {
        return bytes == 0xffffffff ? "more" : fmt::format("{}", bytes);
    }

    [[nodiscard]] static std::string sizes(const Type& type) {
        return type.least == type.most ? size(type.least) : size(type.least) + ".." + size(type.most);
    }

    void write_type(const Type& type) {
        line("");
        if (type.kind == Kind::enumeration) {
            line("enum {}{}", type.name, type.closed ? " closed" : "");
            for (const Member& member : type.members)
                line("    {:<8} {}", static_cast<std::int64_t>(member.value), member.name);
            return;
        }
        line("{} {} {}", type.kind == Kind::structure ? "struct" : "union", type.name, sizes(type));
        std::uint64_t offset = 0;
        bool known = true;
        if (type.kind == Kind::choice)
            write_choice(type, "", offset, known);
        else
            for (const Field& field : type.fields)
                write_part(field.type, field.name, marks_of(field), offset, known);
        for (const Relation& relation : type.relations)
            line("    {} {} {}{}", relation.kind == layout::RelationKind::product ? "product" : "same_length",
                 type.fields[relation.a].name, type.fields[relation.b].name,
                 relation.kind == layout::RelationKind::product ? fmt::format(" {}", relation.maximum) : "");
    }

    [[nodiscard]] static std::string marks_of(const Field& field) {
        return std::string(field.is_flags ? " flags" : "") + (field.is_quantity ? " quantity" : "");
    }

    void write_leaf(const Type& type, const std::string& what, const std::string& path,
                    const std::string& marks, std::uint64_t& offset, bool& known) {
        line("    {:<8} {:<28} {}{}", known ? fmt::format("{}", offset) : "~", what, path, marks);
        known = known && type.least == type.most;
        offset += type.least;
    }

    void write_part(TypeId id, const std::string& path, const std::string& marks, std::uint64_t& offset,
                    bool& known) {
        const Type& type = model_.types[id];
        switch (type.kind) {
            case Kind::structure:
                for (const Field& field : type.fields)
                    write_part(field.type, path + "." + field.name, marks_of(field), offset, known);
                return;
            case Kind::choice: return write_choice(type, path + ".", offset, known);
            case Kind::optional:
            case Kind::array: {
                const bool array = type.kind == Kind::array;
                write_leaf(type, array ? fmt::format("count 0..{}", type.bound) : "present", path, marks,
                           offset, known);
                bool inner = false;
                return write_part(type.element, path + (array ? "[]" : "?"), "", offset, inner);
            }
            case Kind::fixed_array: {
                line("    {:<8} {:<28} {}", known ? fmt::format("{}", offset) : "~",
                     fmt::format("{} times", type.bound), path);
                known = known && type.least == type.most;
                std::uint64_t inside = 0;
                bool inner = false;
                write_part(type.element, path + "[]", "", inside, inner);
                offset += type.least;
                return;
            }
            default: write_leaf(type, leaf_name(type), path, marks, offset, known);
        }
    }

    void write_choice(const Type& type, const std::string& path, std::uint64_t& offset, bool& known) {
        write_part(type.fields.front().type, path + type.fields.front().name, " selects", offset, known);
        for (const Arm& arm : type.arms) {
            std::string cases;
            for (const Wide value : arm.cases)
                cases += fmt::format("{}{}", cases.empty() ? "" : ",", static_cast<std::int64_t>(value));
            line("    case {}", cases.empty() ? "default" : cases);
            std::uint64_t inside = offset;
            bool inner = known;
            if (arm.field.type != k_void)
                write_part(arm.field.type, path + arm.field.name, "", inside, inner);
        }
        known = known && type.least == type.most;
        offset += type.least - 4;
    }

    [[nodiscard]] static std::string leaf_name(const Type& type) {
        const auto ranged = [&](std::string_view name) {
            if (!type.ranged) return std::string(name);
            return fmt::format("{} {}..{}", name, static_cast<std::int64_t>(type.minimum),
                               static_cast<std::uint64_t>(type.maximum));
        };
        switch (type.kind) {
            case Kind::i32: return ranged("int");
            case Kind::u32: return ranged("unsigned");
            case Kind::i64: return ranged("hyper");
            case Kind::u64: return ranged("unsigned hyper");
            case Kind::f32: return "float";
            case Kind::f64: return "double";
            case Kind::boolean: return "bool";
            case Kind::character: return "char";
            case Kind::u8: return "unsigned char";
            case Kind::i16: return "short";
            case Kind::u16: return "unsigned short";
            case Kind::enumeration: return "enum " + type.name;
            case Kind::fixed_opaque: return fmt::format("opaque[{}]", type.bound);
            case Kind::opaque: return fmt::format("opaque<{}>", type.bound);
            case Kind::string: return fmt::format("string<{}>", type.bound);
            case Kind::name: return fmt::format("name<{}>", type.bound);
            default: return "?";
        }
    }

    [[nodiscard]] std::string type_name(TypeId id) const {
        if (id == k_void) return "void";
        const Type& type = model_.types[id];
        return type.name.empty() ? leaf_name(type) : type.name;
    }

    void write_program(const Program& program) {
        line("");
        line("program {} 0x{:08x} version {}{}", program.name, program.number, program.version,
             program.internal ? " internal" : "");
        for (const Procedure& procedure : program.procedures) write_procedure(procedure);
    }

    [[nodiscard]] static std::string tests(const std::vector<Test>& list, std::string_view before) {
        static constexpr std::string_view k_verbs[] = {"has", "lacks", "is"};
        std::string out;
        for (const Test& test : list)
            out += fmt::format("{}{} {} {}", out.empty() ? before : " or ", test.path,
                               k_verbs[static_cast<std::size_t>(test.kind)], test.value);
        return out;
    }

    void write_procedure(const Procedure& procedure) {
        const auto most = [&](TypeId id) { return id == k_void ? 0 : model_.types[id].most; };
        line("");
        if (procedure.is_event)
            line("event {} {}({}) {}", procedure.number, procedure.name, type_name(procedure.args),
                 size(most(procedure.args)));
        else
            line("call {} {}({}) {} {} {}", procedure.number, procedure.name, type_name(procedure.args),
                 size(most(procedure.args)), type_name(procedure.ret), size(most(procedure.ret)));
        static constexpr std::string_view k_readonly[] = {"refused", "allowed", "refused"};
        if (!procedure.is_event)
            line("    readonly {}{}", k_readonly[procedure.readonly],
                 tests(procedure.readonly_tests, " if "));
        for (const Rule& rule : procedure.rules)
            line("    acl {}:{}{}", rule.object, rule.permission, tests(rule.tests, " if "));
        for (const Rule& rule : procedure.filters) line("    filter {}:{}", rule.object, rule.permission);
        for (const auto& [word, list] : {std::pair{"object", &procedure.objects},
                                         {"returns", &procedure.returns},
                                         {"key", &procedure.keys}})
            for (const ObjectPlace& place : *list)
                line("    {} {} {}{}{}{}{}", word, place.path, place.object,
                     place.identity.empty() ? "" : " by ", place.identity,
                     place.how.empty() ? "" : " as " + place.how, place.nullable ? " nullable" : "");
        if (procedure.stream != 0)
            line("    stream {} sparse {}", procedure.stream == 1 ? "read" : "write", procedure.sparse);
        if (procedure.fds[1] != 0 || procedure.fds[3] != 0)
            line("    descriptors call {}..{} reply {}..{}", procedure.fds[0], procedure.fds[1],
                 procedure.fds[2], procedure.fds[3]);
        if (procedure.event_style != 0)
            line("    family {} id {} {}", procedure.event_family,
                 procedure.event_id == layout::k_none ? "-" : fmt::format("{}", procedure.event_id),
                 procedure.event_style == 1 ? "legacy" : "callback");
        if (procedure.high_priority || procedure.before_auth)
            line("   {}{}", procedure.high_priority ? " priority" : "",
                 procedure.before_auth ? " unauthenticated" : "");
        if (!procedure.driver.empty() || !procedure.since.empty())
            line("   {}{}", procedure.driver.empty() ? "" : " driver " + procedure.driver,
                 procedure.since.empty() ? "" : " since " + procedure.since);
    }

    const Model& model_;
    const Module& module_;
    std::string out_;
};

}  // namespace

std::string emit_layout(const Model& model, const Module& module) {
    return LayoutWriter(model, module).run();
}

}  // namespace virtgate::proto::xdrgen
