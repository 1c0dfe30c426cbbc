// SPDX-License-Identifier: LGPL-2.1-or-later
// dialect - from the text of an .x file through its .schema file to verdicts: what libvirt's own programs do not use.
#include <criterion/criterion.h>

#include <string>
#include <vector>

#include "libshared/base/bytes.h"
#include "proto/program.h"
#include "proto/schema.h"
#include "proto/xdrgen/checker.h"
#include "proto/xdrgen/lexer.h"
#include "proto/xdrgen/parser.h"
#include "proto/xdrgen/tables.h"

using namespace virtgate;
using proto::Extent;
using proto::Flaw;
using proto::Verdict;

namespace {

ByteVector hex(std::string_view text) {
    ByteVector out;
    std::string digits;
    for (const char c : text)
        if (c != ' ') digits += c;
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
        out.push_back(static_cast<std::byte>(std::stoul(digits.substr(i, 2), nullptr, 16)));
    return out;
}

// The schema of an .x file, as a gate would load it.
proto::Schema compile(const std::string& source) {
    proto::xdrgen::Messages messages;
    proto::xdrgen::Checker checker(messages);
    const std::uint32_t file = messages.add_file("t.x");
    checker.add(proto::xdrgen::parse(proto::xdrgen::split(source, file, messages), "t", messages));
    cr_assert(!messages.any(), "%s", messages.text().c_str());
    const auto& model = checker.model();
    const std::string bytes =
        proto::xdrgen::make_schema_file(proto::xdrgen::make_tables(model, model.modules.back()));
    auto schema = proto::Schema::load(as_bytes(bytes));
    cr_assert(schema.has_value(), "%s", schema ? "" : schema.error().c_str());
    return std::move(*schema);
}

// The verdict on `payload` as type T of `schema`, which is rewritten to `canonical` if that is given.
void expect(const proto::Schema& schema, std::string_view payload, Flaw flaw, std::uint32_t offset,
            std::string_view canonical = {}) {
    ByteVector bytes = hex(payload);
    const Verdict verdict = validate(schema, schema.find_type("T"), bytes, Extent::whole);
    cr_assert_eq(verdict.flaw, flaw, "%s: \"%s\"", std::string(payload).c_str(),
                 std::string(to_text(verdict.flaw)).c_str());
    cr_assert_eq(verdict.offset, offset, "%s: %u", std::string(payload).c_str(), verdict.offset);
    if (!canonical.empty()) {
        cr_assert_eq(to_hex(bytes), to_hex(hex(canonical)));
        cr_assert(verdict.rewritten);
    }
}

}  // namespace

Test(dialect, closed_enumerations_refuse_other_values) {
    const auto schema = compile("/* @closed */ enum E { a = 1, b = 5, c = -1 };\nstruct T { E e; E *f; };\n");
    expect(schema, "00000005 00000001 ffffffff", Flaw::none, 12);
    expect(schema, "00000002 00000000", Flaw::bad_enum, 0);
    expect(schema, "00000001 00000001 00000000", Flaw::bad_enum, 8);
}

Test(dialect, products_of_wide_numbers_do_not_wrap) {
    const auto schema =
        compile("/* @product a b 4294967296 */ struct T { unsigned hyper a; unsigned hyper b; };\n");
    expect(schema, "0000000100000000 0000000000000001", Flaw::none, 16);
    expect(schema, "0000000100000000 0000000100000000", Flaw::product_too_large, 8);
    expect(schema, "8000000000000000 0000000000000002", Flaw::product_too_large, 8);
    expect(schema, "8000000000000000 0000000000000000", Flaw::none, 16);
    expect(schema, "0000000000000000 ffffffffffffffff", Flaw::none, 16);
}

Test(dialect, relations_may_mix_arrays_opaque_and_numbers) {
    const auto schema = compile(
        "/* @product list n 6\n @same_length list bytes */ struct T { int list<9>; unsigned n; opaque "
        "bytes<9>; };\n");
    expect(schema, "00000002 00000001 00000002 00000003 00000002 61620000", Flaw::none, 24);
    expect(schema, "00000002 00000001 00000002 00000004 00000002 61620000", Flaw::product_too_large, 12);
    expect(schema, "00000002 00000001 00000002 00000003 00000001 61000000", Flaw::lengths_differ, 16);
}

Test(dialect, ranges_work_in_every_width) {
    const auto schema = compile(
        "struct T { /* @range -5..5 */ int a; /* @range 3..4294967295 */ unsigned b; /* @range "
        "-9223372036854775808..-1 */ "
        "hyper c; /* @range 18446744073709551614..18446744073709551615 */ unsigned hyper d; };\n");
    const std::string good = "fffffffb 00000003 8000000000000000 ffffffffffffffff";
    expect(schema, good, Flaw::none, 24);
    expect(schema, "fffffffa 00000003 8000000000000000 ffffffffffffffff", Flaw::out_of_range, 0);
    expect(schema, "00000006 00000003 8000000000000000 ffffffffffffffff", Flaw::out_of_range, 0);
    expect(schema, "00000005 00000002 8000000000000000 ffffffffffffffff", Flaw::out_of_range, 4);
    expect(schema, "00000005 ffffffff 0000000000000000 ffffffffffffffff", Flaw::out_of_range, 8);
    expect(schema, "00000005 ffffffff ffffffffffffffff fffffffffffffffd", Flaw::out_of_range, 16);
}

Test(dialect, ranges_reach_into_arrays_and_optionals) {
    const auto schema = compile("struct T { /* @range 1..2 */ int a<3>; /* @range 7..7 */ int *b; };\n");
    expect(schema, "00000002 00000001 00000002 00000001 00000007", Flaw::none, 20);
    expect(schema, "00000002 00000001 00000003 00000000", Flaw::out_of_range, 8);
    expect(schema, "00000000 00000001 00000008", Flaw::out_of_range, 8);
}

Test(dialect, unions_by_bool_and_with_default) {
    const auto flag = compile("union T switch (bool b) { case 1: int x; case 0: void; };\n");
    expect(flag, "00000000", Flaw::none, 4);
    expect(flag, "00000007 00000005", Flaw::none, 8, "00000001 00000005");
    const auto open =
        compile("union T switch (unsigned u) { case 3: case 9: opaque o<4>; default: int x; };\n");
    expect(open, "00000009 00000001 aa000000", Flaw::none, 12);
    expect(open, "00000008 00000001", Flaw::none, 8);
    expect(open, "ffffffff 00000001 00000001", Flaw::trailing_bytes, 8);
    const auto nothing = compile("union T switch (int u) { case 3: int x; default: void; };\n");
    expect(nothing, "00000008", Flaw::none, 4);
    expect(nothing, "00000003", Flaw::truncated, 4);
}

Test(dialect, narrow_words_become_canonical) {
    const auto schema =
        compile("struct T { char a; unsigned char b; short c; unsigned short d; bool e; char f[2]; };\n");
    expect(schema, "00000080 ffffff80 00008000 ffff8000 80000000 0000007f 000000ff", Flaw::none, 28,
           "ffffff80 00000080 ffff8000 00008000 00000001 0000007f ffffffff");
}

Test(dialect, fixed_arrays_and_deep_nesting) {
    const auto schema = compile(
        "struct A { string s<3>; };\nstruct B { A a[2]; };\nstruct C { B b<2>; };\nstruct D { C *c; "
        "};\nstruct T { D d<1>; };\n");
    expect(schema, "00000001 00000001 00000001 00000001 61000000 00000000", Flaw::none, 24);
    expect(schema, "00000001 00000001 00000001 00000001 61000000 00000004 61626364", Flaw::string_too_long,
           20);
    expect(schema, "00000001 00000001 00000003", Flaw::array_too_long, 8);
}

Test(dialect, types_that_nest_too_deep_are_refused_when_loaded) {
    std::string source = "struct S0 { string s<3>; };\n";
    for (int i = 1; i < 40; ++i)
        source += "struct S" + std::to_string(i) + " { S" + std::to_string(i - 1) + " s<2>; };\n";
    proto::xdrgen::Messages messages;
    proto::xdrgen::Checker checker(messages);
    messages.add_file("t.x");
    checker.add(proto::xdrgen::parse(proto::xdrgen::split(source, 0, messages), "t", messages));
    const bool complained = messages.text().find("nests") != std::string::npos;
    cr_assert(complained, "%s", messages.text().c_str());
}

Test(dialect, a_program_of_ones_own) {
    const auto schema = compile(
        "struct T { /* @range 0..9 */ unsigned size; };\n"
        "program pump { version pump_v1 { /* Start a pump.\n @acl domain:start @readonly no @priority high "
        "*/\n"
        "T start(T) = 7; /* @event none */ void stopped(T) = 9; } = 3; } = 0x20000123;\n");
    const proto::ProgramInfo program(schema);
    cr_assert_eq(program.name, "pump");
    cr_assert_eq(program.number, 0x20000123U);
    cr_assert_eq(program.version, 3U);
    cr_assert_eq(program.find(7U)->prose, "Start a pump.");
    cr_assert(program.find(7U)->high_priority);
    cr_assert_null(program.find(8U));
    cr_assert_eq(program.find(9U)->kind, proto::ProcedureInfo::Kind::event);
    expect(schema, "0000000a", Flaw::out_of_range, 0);
}
