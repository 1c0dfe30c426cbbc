// SPDX-License-Identifier: LGPL-2.1-or-later
// model - what the .x files mean: names looked up, constants computed, sizes known.
//
// Types of all files of a run lie in one list, in which a type stands behind everything it is made of. Equal types
// without a name are one entry. So there is no recursion to guard against, here or in the schema.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "proto/schema_layout.h"
#include "proto/xdrgen/syntax.h"

namespace virtgate::proto::xdrgen {

using layout::Kind;
using TypeId = std::uint32_t;
inline constexpr TypeId k_void = layout::k_none;

struct Field {
    std::string name;
    TypeId type = k_void;
    Position at;
    bool is_flags = false;
    bool is_quantity = false;
    std::vector<std::string> prose;
};

struct Relation {
    layout::RelationKind kind = layout::RelationKind::product;
    std::size_t a = 0;  // number of the field
    std::size_t b = 0;
    std::uint64_t maximum = 0;
};

struct Arm {
    std::vector<Wide> cases;  // empty for the default
    Field field;              // type k_void: nothing follows
};

struct Member {
    std::string name;
    Wide value = 0;
    std::vector<std::string> prose;
};

struct Type {
    Kind kind = Kind::i32;
    std::string name;    // of a structure, union or enumeration; else empty
    std::string module;  // the file that defines it
    Position at;
    std::vector<std::string> prose;

    bool ranged = false;
    Wide minimum = 0;
    Wide maximum = 0;
    std::uint32_t bound = 0;  // bytes or elements
    TypeId element = k_void;

    std::vector<Field> fields;  // structure; choice: the discriminant
    std::vector<Relation> relations;
    std::vector<Arm> arms;
    std::vector<Member> members;
    bool closed = false;

    std::uint32_t least = 0;  // bytes of the smallest and the largest encoding; 2^32 - 1 means "or more"
    std::uint32_t most = 0;
    bool plain = false;
    std::uint32_t depth = 0;  // structures and arrays within each other, this one included
};

struct Test {
    std::string path;
    layout::TestKind kind = layout::TestKind::has;
    std::uint64_t value = 0;
    std::string value_name;
    std::vector<std::uint32_t> steps;
};

struct Rule {
    std::string object;
    std::string permission;
    std::vector<Test> tests;  // one of them must hold for the rule to apply; none: it always applies
};

struct ObjectPlace {
    std::string path;
    std::string object;
    std::string identity;  // words with one space between
    std::string how;       // keys only
    bool list = false;
    bool nullable = false;
    std::vector<std::uint32_t> steps;
};

struct Procedure {
    std::string name;
    Position at;
    std::uint32_t number = 0;
    bool is_event = false;
    TypeId args = k_void;
    TypeId ret = k_void;
    std::uint32_t stream = 0;
    std::uint32_t sparse = 0;
    std::uint32_t fds[4] = {0, 0, 0, 0};  // call least, call most, reply least, reply most
    bool before_auth = false;
    bool high_priority = false;
    std::uint32_t readonly = 0;
    std::vector<Test> readonly_tests;
    std::vector<Rule> rules;
    std::vector<Rule> filters;
    std::vector<ObjectPlace> objects, returns, keys;
    std::string event_family;
    std::uint32_t event_id = layout::k_none;
    std::uint32_t event_style = 0;
    std::string enrol, deregister;  // of an event that is asked for with calls of its own program
    std::string driver;
    std::string since;
    std::vector<std::string> prose;
};

struct Program {
    std::string name;
    std::uint32_t number = 0;
    std::uint32_t version = 0;
    bool internal = false;
    std::vector<std::string> prose;
    std::vector<Procedure> procedures;  // by number
};

struct Constant {
    std::string name;
    Wide value = 0;
    std::vector<std::string> prose;
};

struct Alias {
    std::string name;
    TypeId type = k_void;
    std::vector<std::string> prose;
};

// One .x file.
struct Module {
    std::string name;
    std::vector<std::string> imports;  // names of modules
    std::vector<Constant> constants;
    std::vector<TypeId> types;  // its structures, unions and enumerations, in the order of the file
    std::vector<Alias> aliases;
    std::optional<Program> program;  // the newest version of it
    std::vector<Program> older;      // the others, newest first
    // What to write in which order: 'c'onstants, 't'ypes and 'a'liases with their number in the lists above.
    std::vector<std::pair<char, std::size_t>> order;
};

struct Model {
    std::vector<Type> types;
    std::vector<Module> modules;  // imported ones first; the last one is the file that was asked for
};

}  // namespace virtgate::proto::xdrgen
