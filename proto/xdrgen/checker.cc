// SPDX-License-Identifier: LGPL-2.1-or-later
// checker - from syntax to model: definitions.
#include "proto/xdrgen/checker.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "proto/xdrgen/procedures.h"
#include "proto/xdrgen/words.h"

namespace virtgate::proto::xdrgen {

namespace {

// "peer_role" and "PeerRole" are both called PeerRole in C++, "MAX_NAMES" and "max_names" both max_names.
std::string type_name(std::string_view written) {
    std::string name;
    bool start = true;
    for (const char c : written) {
        if (c != '_') name += start && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        start = c == '_';
    }
    return name;
}

}  // namespace

void Checker::add(const File& file) {
    Module module;
    module.name = file.name;
    names_.clear();
    taken_.clear();
    constants_.clear();
    for (const Word& import : file.imports) {
        const std::string name = import.text.substr(0, import.text.rfind('.'));
        module.imports.push_back(name);
        for (const auto& [type_name, id] : names_of_[name]) names_.emplace(type_name, id);
        for (const auto& [constant, value] : constants_of_[name]) constants_.emplace(constant, value);
    }
    model_.modules.push_back(std::move(module));
    for (const Definition& definition : file.definitions) {
        switch (definition.kind) {
            case DefinitionKind::constant: add_constant(definition); break;
            case DefinitionKind::enumeration: add_enum(definition); break;
            case DefinitionKind::structure: add_struct(definition); break;
            case DefinitionKind::choice: add_union(definition); break;
            case DefinitionKind::alias: add_alias(definition); break;
            case DefinitionKind::program: add_program(definition); break;
        }
    }
    names_of_[file.name] = names_;
    constants_of_[file.name] = constants_;
}

std::string lower_name(std::string_view written) {
    std::string name(written);
    for (char& c : name)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return name;
}

bool Checker::claim_name(const Word& name, bool type) {
    const std::string canonical = type ? type_name(name.text) : lower_name(name.text);
    if (canonical.empty() || !taken_.insert(type ? canonical : "k_" + canonical).second) {
        messages_.error(name.at, fmt::format("\"{}\" is defined already", name.text));
        return false;
    }
    return true;
}

void Checker::keep_type(Type type, const Word& name) {
    const bool good = claim_name(name, true);
    type.name = type_name(name.text);
    type.module = model_.modules.back().name;
    type.at = name.at;
    const TypeId id = types_.add(std::move(type));
    if (types_.at(id).depth > layout::k_depth_max)
        messages_.error(name.at, fmt::format("{} nests more than {} structures and arrays", name.text,
                                             layout::k_depth_max));
    if (!good) return;
    names_[name.text] = id;
    Module& module = model_.modules.back();
    module.types.push_back(id);
    module.order.emplace_back('t', module.types.size() - 1);
}

void Checker::add_constant(const Definition& definition) {
    const auto value = evaluate(definition.value);
    for (const Annotation& annotation : definition.notes.annotations)
        messages_.error(annotation.word.at,
                        fmt::format("@{} does not belong to a constant", annotation.word.text));
    if (!claim_name(definition.name, false) || !value) return;
    constants_[definition.name.text] = *value;
    Module& module = model_.modules.back();
    module.constants.push_back({lower_name(definition.name.text), *value, definition.notes.prose});
    module.order.emplace_back('c', module.constants.size() - 1);
}

void Checker::add_enum(const Definition& definition) {
    Type type;
    type.kind = Kind::enumeration;
    type.prose = definition.notes.prose;
    for (const Annotation& annotation : definition.notes.annotations) {
        if (annotation.word.text == "closed")
            type.closed = true;
        else
            messages_.error(annotation.word.at,
                            fmt::format("@{} does not belong to an enumeration{}", annotation.word.text,
                                        did_you_mean(annotation.word.text, {"closed"})));
    }
    std::set<std::string> seen;
    std::set<Wide> values;
    for (const EnumMember& member : definition.members) {
        const auto value = evaluate(member.value);
        if (!seen.insert(lower_name(member.name.text)).second)
            messages_.error(member.name.at, fmt::format("\"{}\" is listed already", member.name.text));
        if (!value) continue;
        if (*value < lowest(Kind::i32) || *value > highest(Kind::i32))
            messages_.error(member.value.at, "the value of a member has 32 bits and a sign");
        else if (!values.insert(*value).second)
            messages_.error(member.value.at, "another member has this value");
        type.members.push_back({lower_name(member.name.text), *value, member.notes.prose});
    }
    keep_type(std::move(type), definition.name);
}

void Checker::add_struct(const Definition& definition) {
    Type type;
    type.kind = Kind::structure;
    type.name = definition.name.text;  // for messages
    type.prose = definition.notes.prose;
    std::set<std::string> seen;
    for (const Declaration& declaration : definition.fields) {
        Field field = read_field(declaration);
        if (!seen.insert(field.name).second)
            messages_.error(field.at,
                            fmt::format("{} has a field \"{}\" already", definition.name.text, field.name));
        type.fields.push_back(std::move(field));
    }
    for (const Annotation& annotation : definition.notes.annotations) {
        if (annotation.word.text == "product" || annotation.word.text == "same_length")
            read_relation(annotation, type);
        else
            messages_.error(annotation.word.at,
                            fmt::format("@{} does not belong to a structure{}", annotation.word.text,
                                        did_you_mean(annotation.word.text, {"product", "same_length"})));
    }
    std::set<std::size_t> marked;
    for (const Relation& relation : type.relations) marked.insert({relation.a, relation.b});
    if (marked.size() > layout::k_marks)
        messages_.error(definition.name.at, "relations may speak of four fields of a structure");
    keep_type(std::move(type), definition.name);
}

// @product a b MAXIMUM and @same_length a b
void Checker::read_relation(const Annotation& annotation, Type& type) {
    const bool product = annotation.word.text == "product";
    if (annotation.arguments.size() != (product ? 3U : 2U)) {
        messages_.error(annotation.word.at,
                        product ? "write @product FIELD FIELD MAXIMUM" : "write @same_length FIELD FIELD");
        return;
    }
    Relation relation;
    relation.kind = product ? layout::RelationKind::product : layout::RelationKind::same_length;
    const auto a = find_factor(annotation.arguments[0], type, relation.kind);
    const auto b = find_factor(annotation.arguments[1], type, relation.kind);
    if (!a || !b) return;
    relation.a = *a;
    relation.b = *b;
    if (product) {
        const auto maximum = evaluate_word(annotation.arguments[2]);
        if (!maximum) return;
        if (*maximum < 0) {
            messages_.error(annotation.arguments[2].at, "a product's maximum is not negative");
            return;
        }
        relation.maximum = static_cast<std::uint64_t>(*maximum);
    }
    type.relations.push_back(relation);
}

std::optional<std::size_t> Checker::find_factor(const Word& name, const Type& type,
                                                layout::RelationKind kind) {
    std::vector<std::string_view> known;
    for (std::size_t i = 0; i < type.fields.size(); ++i) {
        known.push_back(type.fields[i].name);
        if (type.fields[i].name != lower_name(name.text)) continue;
        const Type& factor = types_.at(type.fields[i].type);
        const bool counted = factor.kind == Kind::array || factor.kind == Kind::opaque;
        const bool number = types_.is_integer(type.fields[i].type) && kind == layout::RelationKind::product &&
                            (factor.ranged ? factor.minimum >= 0 : lowest(factor.kind) == 0);
        if (counted || number) return i;
        messages_.error(name.at, fmt::format("\"{}\" is {}", name.text,
                                             kind == layout::RelationKind::product
                                                 ? "neither an array nor an integer that cannot be negative"
                                                 : "no array"));
        return std::nullopt;
    }
    messages_.error(name.at,
                    fmt::format("no field is called \"{}\"{}", name.text, did_you_mean(name.text, known)));
    return std::nullopt;
}

void Checker::add_union(const Definition& definition) {
    Type type;
    type.kind = Kind::choice;
    type.name = definition.name.text;
    type.prose = definition.notes.prose;
    for (const Annotation& annotation : definition.notes.annotations)
        messages_.error(annotation.word.at,
                        fmt::format("@{} does not belong to a union", annotation.word.text));
    Field discriminant = read_field(definition.fields.front());
    const Kind kind = types_.at(discriminant.type).kind;
    if (kind != Kind::i32 && kind != Kind::u32 && kind != Kind::boolean && kind != Kind::enumeration) {
        messages_.error(discriminant.at, "a union is switched by an int, unsigned int, bool or enumeration");
        return;
    }
    type.fields.push_back(std::move(discriminant));
    for (const UnionArm& arm : definition.arms) read_arm(arm, type);
    const auto defaults =
        std::count_if(type.arms.begin(), type.arms.end(), [](const Arm& arm) { return arm.cases.empty(); });
    if (defaults > 1) messages_.error(definition.name.at, "a union has one default arm at most");
    keep_type(std::move(type), definition.name);
}

void Checker::read_arm(const UnionArm& syntax, Type& type) {
    const Type& discriminant = types_.at(type.fields.front().type);
    Arm arm;
    for (const Value& value : syntax.cases) {
        std::optional<Wide> number;
        if (discriminant.kind == Kind::enumeration && !value.name.empty()) {
            std::vector<std::string_view> known;
            for (const Member& member : discriminant.members) {
                known.push_back(member.name);
                if (member.name == lower_name(value.name)) number = member.value;
            }
            if (!number)
                messages_.error(value.at, fmt::format("{} has no member \"{}\"{}", discriminant.name,
                                                      value.name, did_you_mean(value.name, known)));
        } else {
            number = evaluate(value);
        }
        if (!number) continue;
        for (const Arm& other : type.arms)
            if (std::find(other.cases.begin(), other.cases.end(), *number) != other.cases.end())
                messages_.error(value.at, "another arm has this case");
        arm.cases.push_back(*number);
    }
    if (syntax.body.type.text != "void") {
        arm.field = read_field(syntax.body);
        for (const Arm& other : type.arms)
            if (other.field.type != k_void && other.field.name == arm.field.name)
                messages_.error(arm.field.at, fmt::format("another arm is called \"{}\"", arm.field.name));
    } else {
        for (const Annotation& annotation : syntax.body.notes.annotations)
            messages_.error(annotation.word.at,
                            fmt::format("@{} does not belong to void", annotation.word.text));
    }
    type.arms.push_back(std::move(arm));
}

void Checker::add_alias(const Definition& definition) {
    Declaration declaration = definition.fields.front();
    declaration.notes = definition.notes;
    const Field field = read_field(declaration);
    if (!claim_name(definition.name, true)) return;
    names_[definition.name.text] = field.type;
    Module& module = model_.modules.back();
    module.aliases.push_back({type_name(definition.name.text), field.type, definition.notes.prose});
    module.order.emplace_back('a', module.aliases.size() - 1);
}

void Checker::add_program(const Definition& definition) {
    Module& module = model_.modules.back();
    if (module.program) {
        messages_.error(definition.name.at, "a file describes one program at most");
        return;
    }
    Program program;
    program.name = lower_name(definition.name.text);
    program.prose = definition.notes.prose;
    for (const Annotation& annotation : definition.notes.annotations) {
        if (annotation.word.text == "internal")
            program.internal = true;
        else
            messages_.error(annotation.word.at,
                            fmt::format("@{} does not belong to a program{}", annotation.word.text,
                                        did_you_mean(annotation.word.text, {"internal"})));
    }
    program.number = find_number(definition.value);
    std::vector<Program> versions;
    for (const VersionSyntax& syntax : definition.versions) {
        Program version = program;
        version.version = find_number(syntax.number);
        if (std::any_of(versions.begin(), versions.end(),
                        [&](const Program& other) { return other.version == version.version; }))
            messages_.error(syntax.name.at,
                            fmt::format("{} has a version {} already", program.name, version.version));
        add_procedures(syntax, version);
        versions.push_back(std::move(version));
    }
    if (versions.size() > layout::k_versions_max)
        messages_.error(definition.name.at,
                        fmt::format("a program has at most {} versions", layout::k_versions_max));
    std::sort(versions.begin(), versions.end(),
              [](const Program& a, const Program& b) { return a.version > b.version; });
    module.program = std::move(versions.front());
    module.older.assign(std::make_move_iterator(versions.begin() + 1),
                        std::make_move_iterator(versions.end()));
}

// Of a program or a version of one.
std::uint32_t Checker::find_number(const Value& value) {
    const auto number = evaluate(value);
    if (number && *number >= 0 && *number <= k_word_max) return static_cast<std::uint32_t>(*number);
    if (number) messages_.error(value.at, "the number has 32 bits and no sign");
    return 0;
}

void Checker::add_procedures(const VersionSyntax& version, Program& program) {
    ProcedureReader reader(model_.types, messages_, program.internal,
                           [this](const Word& word) { return evaluate_word(word); });
    for (const ProcedureSyntax& syntax : version.procedures) {
        Procedure procedure;
        procedure.name = lower_name(syntax.name.text);
        procedure.at = syntax.name.at;
        procedure.prose = syntax.notes.prose;
        if (const auto number = evaluate(syntax.number)) {
            if (*number < 0 || *number > 0xffff)
                messages_.error(syntax.number.at, "procedures are numbered 0 to 65535");
            else
                procedure.number = static_cast<std::uint32_t>(*number);
        }
        if (syntax.argument.text != "void") procedure.args = find_type(syntax.argument);
        if (syntax.result.text != "void") procedure.ret = find_type(syntax.result);
        reader.read(syntax.notes, procedure);
        for (const Procedure& other : program.procedures) {
            if (other.number == procedure.number)
                messages_.error(syntax.number.at,
                                fmt::format("{} has number {} already", other.name, other.number));
            if (other.name == procedure.name)
                messages_.error(procedure.at,
                                fmt::format("a procedure is called \"{}\" already", procedure.name));
        }
        program.procedures.push_back(std::move(procedure));
    }
    std::sort(program.procedures.begin(), program.procedures.end(),
              [](const Procedure& a, const Procedure& b) { return a.number < b.number; });
    check_enrolments(program);
    check_counts(program);
}

// Whoever asks for an event gets the number of that request, which every event begins with, and gives it up with it.
void Checker::check_enrolments(const Program& program) {
    const auto begins_with_id = [&](TypeId id) {
        return id != k_void && types_.at(id).kind == Kind::structure && !types_.at(id).fields.empty() &&
               types_.at(types_.at(id).fields.front().type).kind == Kind::i32;
    };
    const auto find = [&](const std::string& name) {
        return std::find_if(program.procedures.begin(), program.procedures.end(),
                            [&](const Procedure& one) { return one.name == name && !one.is_event; });
    };
    for (const Procedure& event : program.procedures) {
        if (event.enrol.empty()) continue;
        const auto enrol = find(event.enrol), deregister = find(event.deregister);
        if (enrol == program.procedures.end() || deregister == program.procedures.end())
            messages_.error(
                event.at,
                fmt::format("{} is asked for and given up with calls of its own program", event.name));
        else if (!begins_with_id(event.args) || !begins_with_id(enrol->ret) ||
                 !begins_with_id(deregister->args))
            messages_.error(event.at,
                            fmt::format("{}, what {} returns and what {} takes begin with the same int",
                                        event.name, event.enrol, event.deregister));
    }
}

// A number that a caller chooses and a server may allocate by needs a range: three of libvirt's worst holes came in
// frames that were well-formed in every other way.
void Checker::check_counts(const Program& program) {
    counted_.assign(model_.types.size(), false);
    for (const Procedure& procedure : program.procedures)
        if (!procedure.is_event && procedure.args != k_void) check_counts_of(procedure.args, procedure.name);
}

void Checker::check_counts_of(TypeId id, std::string_view procedure) {
    const Type& type = types_.at(id);
    if (counted_[id]) return;
    counted_[id] = true;
    if (type.element != k_void) check_counts_of(type.element, procedure);
    const auto judge = [&](const Field& field) {
        if (field.type == k_void) return;
        const Type& of = types_.at(field.type);
        const bool integer = types_.is_integer(field.type) || of.kind == Kind::i16 || of.kind == Kind::u16;
        if (integer && !of.ranged && !field.is_flags && !field.is_quantity && is_count_like(field.name))
            messages_.error(
                field.at,
                fmt::format("\"{}\" looks like a count in the arguments of {}: it needs @range MIN..MAX, or "
                            "@quantity and what it counts if it sizes nothing",
                            field.name, procedure));
        check_counts_of(field.type, procedure);
    };
    for (const Field& field : type.fields) judge(field);
    for (const Arm& arm : type.arms) judge(arm.field);
}

}  // namespace virtgate::proto::xdrgen
