// SPDX-License-Identifier: LGPL-2.1-or-later
// syntax - what an .x file says, as it is written: names are not looked up yet.
//
// Owns: copies of every text, so the source may go.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/xdrgen/messages.h"

namespace virtgate::proto::xdrgen {

// Wide enough for every value of hyper and unsigned hyper, and for products of two of 64 bits' half.
__extension__ using Wide = __int128;
inline constexpr Wide k_word_max = (Wide{1} << 32) - 1;

struct Word {
    std::string text;
    Position at;
};

// One @word of an annotation comment, with its arguments up to the next @word.
struct Annotation {
    Word word;
    std::vector<Word> arguments;
};

// What the comments before a declaration say: annotations, and prose that is carried into the generated header.
struct Notes {
    std::vector<Annotation> annotations;
    std::vector<std::string> prose;  // one entry per line
};

// A number as written, or the name of a constant.
struct Value {
    Position at;
    std::string name;  // empty: `number` counts
    Wide number = 0;
};

enum class Form { single, optional, fixed, variable };

// "type name", "type *name", "type name[bound]", "type name<bound>", or "void".
struct Declaration {
    Notes notes;
    Word type;  // a builtin ("unsigned hyper"), "string", "opaque", "void", or the name of a type
    Form form = Form::single;
    std::optional<Value> bound;  // fixed and variable; a missing one of a variable array stays empty
    Word name;                   // empty for void
};

struct EnumMember {
    Notes notes;
    Word name;
    Value value;
};

struct UnionArm {
    Notes notes;
    std::vector<Value> cases;  // empty for the default arm
    Declaration body;
};

enum class DefinitionKind { constant, enumeration, structure, choice, alias, program };

struct ProcedureSyntax {
    Notes notes;
    Word result;    // a type name or "void"
    Word argument;  // a type name or "void"
    Word name;
    Value number;
};

// One version of a program.
struct VersionSyntax {
    Word name;
    Value number;
    std::vector<ProcedureSyntax> procedures;
};

// One definition. Which members count depends on `kind`.
struct Definition {
    DefinitionKind kind = DefinitionKind::constant;
    Notes notes;
    Word name;
    Value value;                          // constant; program: its number
    std::vector<EnumMember> members;      // enumeration
    std::vector<Declaration> fields;      // structure; alias: exactly one; choice: the discriminant
    std::vector<UnionArm> arms;           // choice
    std::vector<VersionSyntax> versions;  // program: at least one
};

struct File {
    std::string name;           // without directory and ".x"
    std::vector<Word> imports;  // file names as written
    std::vector<Definition> definitions;
};

}  // namespace virtgate::proto::xdrgen
