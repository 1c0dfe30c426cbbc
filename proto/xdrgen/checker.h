// SPDX-License-Identifier: LGPL-2.1-or-later
// checker - from syntax to model: look names up, compute constants, refuse what cannot be right.
//
// Files are checked in the order of their imports. A type is used after its definition, so no type can contain
// itself. Every error of a file is reported; a file with errors yields no model worth using.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "proto/xdrgen/model.h"
#include "proto/xdrgen/types.h"

namespace virtgate::proto::xdrgen {

// `written` in lower case: names of fields, members, constants and procedures may be written in capitals.
[[nodiscard]] std::string lower_name(std::string_view written);

class Checker {
public:
    explicit Checker(Messages& messages) : messages_(messages), types_(model_.types) {}

    // Adds one file. The modules that it imports have been added before.
    void add(const File& file);

    [[nodiscard]] const Model& model() const noexcept { return model_; }

private:
    void add_constant(const Definition& definition);
    void add_enum(const Definition& definition);
    void add_struct(const Definition& definition);
    void add_union(const Definition& definition);
    void add_alias(const Definition& definition);
    void add_program(const Definition& definition);
    [[nodiscard]] std::uint32_t find_number(const Value& value);
    void add_procedures(const VersionSyntax& version, Program& program);
    void check_enrolments(const Program& program);

    // False, after a message, if the name is taken or ill-formed.
    bool claim_name(const Word& name, bool type);
    void keep_type(Type type, const Word& name);

    Field read_field(const Declaration& declaration);
    void apply_field_notes(const Declaration& declaration, Field& field);
    void apply_range(const Annotation& annotation, Field& field);
    void read_relation(const Annotation& annotation, Type& type);
    std::optional<std::size_t> find_factor(const Word& name, const Type& type, layout::RelationKind kind);
    void read_arm(const UnionArm& syntax, Type& type);

    TypeId read_type(const Declaration& declaration);
    std::optional<TypeId> read_single_type(const Word& name);
    TypeId find_type(const Word& name);
    std::optional<Wide> evaluate(const Value& value);
    std::optional<Wide> evaluate_word(const Word& word);
    std::optional<std::uint32_t> evaluate_bound(const Declaration& declaration);

    void check_counts(const Program& program);
    void check_counts_of(TypeId type, std::string_view procedure);

    Messages& messages_;
    Model model_;
    TypeTable types_;
    std::map<std::string, Wide, std::less<>> constants_;
    std::map<std::string, TypeId, std::less<>> names_;  // of the current file and what it imports
    std::map<std::string, std::map<std::string, TypeId, std::less<>>, std::less<>> names_of_;    // by module
    std::map<std::string, std::map<std::string, Wide, std::less<>>, std::less<>> constants_of_;  // by module
    std::set<std::string> taken_;  // C++ names of the current file; constants with k_
    std::vector<bool> counted_;    // types whose count-like fields have been judged
};

}  // namespace virtgate::proto::xdrgen
