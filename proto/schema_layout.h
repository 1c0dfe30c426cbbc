// SPDX-License-Identifier: LGPL-2.1-or-later
// schema_layout - how a schema lies in memory and in a .schema file.
//
// A schema is an array of 32-bit words and a text pool. It holds no pointers: rows name each other by number and
// texts by their offset, so the same words are compiled into a program or read from a file. The words start with a
// header, then a table of sections {offset in words, number of rows}, then the rows of each section.
// A file is the words in big endian, the text pool, and the 64-bit FNV-1a checksum of all before it. The checksum
// finds accidents, not attacks: schema files belong to root.
//
// Trust:  Schema::load() believes none of this before it has checked it.
// Limits: 2^24 - 1 types; four marked fields in a structure; texts are NUL-terminated.
#pragma once

#include <cstdint>

namespace virtgate::proto::layout {

inline constexpr std::uint32_t k_magic = 0x56475343;  // "VGSC"
inline constexpr std::uint32_t k_format = 1;

enum class Section : std::uint32_t {
    types,
    fields,
    arms,
    members,
    relations,
    programs,
    procedures,
    rules,
    tests,
    objects,
    steps,
};
inline constexpr std::uint32_t k_sections = 11;

// How deep structures and arrays may lie in each other: the frames of the interpreter's stack.
inline constexpr std::uint32_t k_depth_max = 24;

// Rows of the section programs: versions of one program, the newest first.
inline constexpr std::uint32_t k_versions_max = 8;

// Words of the header: magic, format, words in all, bytes of text; then two words per section.
inline constexpr std::uint32_t k_header_words = 4 + 2 * k_sections;

// Words per row of each section, in the order of Section.
inline constexpr std::uint32_t k_row_words[k_sections] = {8, 3, 3, 2, 6, 5, 30, 4, 6, 7, 1};

// What stands for "no type" and "no row".
inline constexpr std::uint32_t k_none = 0xffffffff;

// Type row: kind | flags << 8, least bytes, most bytes (saturating), p0, p1, p2, p3, name.
enum class Kind : std::uint32_t {
    i32,  // ranged: p0:p1 = minimum, p2:p3 = maximum, as 64-bit values; the same for u32, i64, u64
    u32,
    i64,
    u64,
    f32,
    f64,
    boolean,
    character,     // one word, sign extended from 8 bits
    u8,            // one word
    i16,           // one word, sign extended
    u16,           // one word
    enumeration,   // p0 = first member row, p1 = how many; closed: other values are refused
    fixed_opaque,  // p0 = bytes
    opaque,        // p0 = most bytes
    string,        // p0 = most bytes
    name,          // p0 = most bytes
    structure,     // p0 = first field row, p1 = how many, p2 = first relation row, p3 = how many
    choice,  // p0 = discriminant type, p1 = first arm row, p2 = how many, p3 = default type, k_none if void,
             // k_no_default if there is none
    optional,     // p0 = type
    array,        // p0 = type, p1 = most elements
    fixed_array,  // p0 = type, p1 = elements
};
inline constexpr std::uint32_t k_kinds = 21;
inline constexpr std::uint32_t k_no_default = 0xfffffffe;

inline constexpr std::uint32_t k_plain = 1u << 8;    // fixed size and every content is valid: skip it
inline constexpr std::uint32_t k_ranged = 1u << 9;   // an integer with a minimum and a maximum
inline constexpr std::uint32_t k_closed = 1u << 10;  // an enumeration that lists all its values
inline constexpr std::uint32_t k_dense = 1u << 11;   // a union whose arms are first, first + 1, first + 2 ...

// Field row: type | mark << 24, name, flags. Marks 1..4 number the fields that relations speak of.
inline constexpr std::uint32_t k_field_flags = 1;     // a set of flag bits
inline constexpr std::uint32_t k_field_quantity = 2;  // counts something, but sizes nothing
inline constexpr std::uint32_t k_marks = 4;
inline constexpr std::uint32_t k_type_mask = 0x00ffffff;

// Arm row: discriminant value, type or k_none for void, name.
// Member row: value, name.

// Relation row: kind, mark a, mark b, bytes of a | bytes of b << 8, maximum high, maximum low.
enum class RelationKind : std::uint32_t { product, same_length };

// Program row: number, version, name, first procedure row, how many.

// Procedure row.
enum class Column : std::uint32_t {
    number,
    name,
    kind,       // 0 call, 1 event
    args,       // type or k_none
    ret,        // type or k_none
    args_most,  // bytes
    ret_most,   // bytes
    stream,     // 0 none, 1 read, 2 write
    sparse,     // flag bit
    fds,        // call least | call most << 8 | reply least << 16 | reply most << 24
    flags,      // k_before_auth, k_high_priority, k_internal
    readonly,   // 0 refused, 1 allowed, 2 refused if a test holds
    readonly_tests,
    readonly_test_count,
    rules,
    rule_count,
    filters,
    filter_count,
    objects,
    object_count,
    returns,
    return_count,
    keys,
    key_count,
    event_family,  // text, empty if there is none
    event_id,      // k_none if unknown
    event_style,   // 0 none, 1 legacy, 2 callback
    driver,        // text
    since,         // text
    prose,         // text
};
inline constexpr std::uint32_t k_before_auth = 1;
inline constexpr std::uint32_t k_high_priority = 2;
inline constexpr std::uint32_t k_internal = 4;

// Rule row: object, permission, first test row, how many.
// Test row: path, kind, value high, value low, first step, how many.
enum class TestKind : std::uint32_t { has, lacks, is };

// Object row: path, object, identity words, how, flags, first step, how many.
inline constexpr std::uint32_t k_object_list = 1;
inline constexpr std::uint32_t k_object_nullable = 2;

// Step: the number of a field in its structure, or "each element".
inline constexpr std::uint32_t k_each = 0xffffffff;

}  // namespace virtgate::proto::layout
