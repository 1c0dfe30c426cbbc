// SPDX-License-Identifier: LGPL-2.1-or-later
// xdrgen - tests of the schema compiler: what it understands, and the exact words of what it refuses.
#include <criterion/criterion.h>

#include <string>
#include <vector>

#include "proto/xdrgen/checker.h"
#include "proto/xdrgen/emit.h"
#include "proto/xdrgen/lexer.h"
#include "proto/xdrgen/parser.h"
#include "proto/xdrgen/words.h"

using namespace virtgate::proto::xdrgen;

namespace {

// One run over a text called t.x.
struct Run {
    explicit Run(const std::string& source) : checker(messages) {
        const std::uint32_t file = messages.add_file("t.x");
        checker.add(parse(split(source, file, messages), "t", messages));
    }
    [[nodiscard]] const Module& module() const { return checker.model().modules.back(); }
    [[nodiscard]] const Type& type(std::size_t number) const {
        return checker.model().types[module().types[number]];
    }
    [[nodiscard]] const Procedure& procedure(std::size_t number) const {
        return module().program->procedures[number];
    }

    Messages messages;
    Checker checker;
};

void expect(const std::string& source, const std::string& errors) {
    const Run run(source);
    cr_assert_eq(run.messages.text(), errors, "got:\n%s", run.messages.text().c_str());
}

// A program with one procedure that has these annotations.
std::string program(const std::string& notes,
                    const std::string& types = "struct A { unsigned int flags; };\n") {
    return types + "program p { version v {\n/* " + notes + " */\nvoid run(A) = 1;\n} = 1; } = 0x20;\n";
}

}  // namespace

Test(lexer, cuts_words_numbers_and_punctuation) {
    Messages messages;
    messages.add_file("t.x");
    const auto tokens = split("const a_1=-0x7f;%ignored\n% passed through\nx<*>", 0, messages);
    std::string all;
    for (const Token& token : tokens) all += std::string(token.text) + "|";
    cr_assert_eq(all, "const|a_1|=|-0x7f|;|ignored|x|<|*|>||", "%s", all.c_str());
    cr_assert_eq(messages.text(), "t.x:1:17: error: '%' means nothing here\n");
    cr_assert_eq(tokens[6].at.line, 3U);
    cr_assert_eq(tokens[6].at.column, 1U);
}

Test(lexer, refuses_what_is_no_xdr) {
    expect("#define X 1\nconst a = 1; // so\nconst b = $2;\n/* open",
           "t.x:1:1: error: there is no preprocessor here: constants are written \"const name = value;\"\n"
           "t.x:2:14: error: comments are written /* so */\n"
           "t.x:3:11: error: '$' means nothing here\n"
           "t.x:4:1: error: this comment is not closed\n");
    expect(std::string("const a = 1;\x80"), "t.x:1:13: error: byte 0x80 means nothing here\n");
}

Test(parser, reads_every_kind_of_definition) {
    const Run run(
        "const MAX = 5;\n"
        "typedef string Text<MAX>;\n"
        "enum Colour { RED = 1, green = 2 };\n"
        "struct All { int a; unsigned b; hyper c; unsigned hyper d; float e; double f; bool g; char h; "
        "unsigned char i;\n"
        "  short j; unsigned short k; opaque l[3]; opaque m<4>; string n<5>; Text *o; Text p<2>; Colour "
        "q[2]; };\n"
        "union U switch (Colour c) { case RED: case green: int x; default: void; };\n"
        "program P { version V { U CALL(All) = 7; } = 2; } = 0x20;\n");
    // The procedure has no annotations; everything else is right.
    cr_assert_eq(
        run.messages.text(),
        "t.x:7:27: error: call does not say who may call it: @acl OBJECT:PERMISSION or @acl none\n"
        "t.x:7:27: error: call does not say whether a read-only connection may call it: @readonly yes, no or "
        "unless ...\n",
        "%s", run.messages.text().c_str());
    const Type& all = run.type(1);
    cr_assert_eq(all.name, "All");
    cr_assert_eq(all.fields.size(), 17U);
    cr_assert_eq(all.least, 4U + 4 + 8 + 8 + 4 + 8 + 4 * 5 + 4 * 5 + 8);
    cr_assert_eq(run.type(2).arms[0].cases.size(), 2U);
    cr_assert_eq(run.module().program->number, 0x20U);
    cr_assert_eq(run.module().program->version, 2U);
    cr_assert_eq(run.procedure(0).number, 7U);
}

Test(parser, reports_all_errors_of_a_run) {
    expect("struct A { int ; };\nstruct B { int x };\nconst C 5;\nstruct D { int y; };\nfoo;\n",
           "t.x:1:16: error: expected a name, found \";\"\n"
           "t.x:2:18: error: expected \";\", found \"}\"\n"
           "t.x:3:9: error: expected \"=\", found \"5\"\n"
           "t.x:5:1: error: expected const, enum, struct, union, typedef or program, found \"foo\"\n");
}

Test(parser, explains_what_is_left_out_of_the_language) {
    expect("struct A { struct { int x; } y; };\n",
           "t.x:1:12: error: define the type by itself and use its name here\n");
    expect("program p { version v { void f(int, int) = 1; } = 1; } = 1;\n",
           "t.x:1:35: error: expected \")\" (a procedure takes one argument: a structure), found \",\"\n");
    expect("typedef int *x<4>;\n",
           "t.x:1:15: error: expected \";\" (an optional array needs a typedef), found \"<\"\n");
    expect("struct A { quadruple x; };\n", "t.x:1:12: error: quadruple is not supported\n");
    expect("struct A {", "t.x:1:11: error: expected a type, found the end of the file\n");
}

Test(checker, knows_several_versions_of_a_program) {
    const Run run(
        "program p { version old { /* @acl none @readonly yes */ void f(void) = 1; } = 1;\n"
        "version new { /* @acl none @readonly no */ void f(void) = 1;\n/* @acl none @readonly no */ void g(void) = 2;"
        " } = 3; } = 0x20;\n");
    cr_assert_eq(run.messages.text(), "", "%s", run.messages.text().c_str());
    cr_assert_eq(run.module().program->version, 3U);
    cr_assert_eq(run.module().program->procedures.size(), 2U);
    cr_assert_eq(run.module().older.size(), 1U);
    cr_assert_eq(run.module().older[0].version, 1U);
    cr_assert_eq(run.module().older[0].number, 0x20U);
    const Tables tables = make_tables(run.checker.model(), run.module());
    const std::string header = emit_header(run.checker.model(), run.module(), tables);
    cr_assert_neq(header.find("namespace v1 {"), std::string::npos, "%s", header.c_str());
    expect("program p { version a { } = 1; version b { } = 1; } = 1;\n",
           "t.x:1:40: error: p has a version 1 already\n");
}

Test(checker, knows_events_that_are_asked_for_by_a_call) {
    const std::string types =
        "struct Ret { int callback_id; };\nstruct Args { int callback_id; };\nstruct Msg { int callback_id; };\n"
        "struct Other { hyper x; };\n";
    const auto with = [&](const std::string& event, const std::string& message) {
        return types +
               "program p { version v {\n/* @acl none @readonly yes */ Ret WATCH(void) = 1;\n"
               "/* @acl none @readonly yes */ void UNWATCH(Args) = 2;\n/* " +
               event + " */ void changed(" + message + ") = 3;\n} = 1; } = 0x20;\n";
    };
    const Run run(with("@event by WATCH UNWATCH", "Msg"));
    cr_assert_eq(run.messages.text(), "", "%s", run.messages.text().c_str());
    cr_assert_eq(run.procedure(2).enrol, "watch");
    cr_assert_eq(run.procedure(2).event_style, 2U);
    expect(with("@event by WATCH FORGET", "Msg"),
           "t.x:8:35: error: changed is asked for and given up with calls of its own program\n");
    expect(with("@event by WATCH UNWATCH", "Other"),
           "t.x:8:36: error: changed, what watch returns and what unwatch takes begin with the same int\n");
}

Test(parser, knows_numbers) {
    Wide number = 0;
    cr_assert(parse_number("0x7f", number) && number == 127);
    cr_assert(parse_number("-1", number) && number == -1);
    cr_assert(parse_number("017", number) && number == 15);
    cr_assert(parse_number("0", number) && number == 0);
    cr_assert(parse_number("18446744073709551615", number) && number == (Wide{1} << 64) - 1);
    for (const char* wrong :
         {"18446744073709551616", "0x", "-", "08", "1a", "0x1g", "", "99999999999999999999999999"})
        cr_assert(!parse_number(wrong, number), "%s", wrong);
    expect("const a = 12x;\n", "t.x:1:11: error: \"12x\" is not a number of at most 64 bits\n");
}

Test(notes, belong_to_what_is_beside_them) {
    const Run run(
        "/* About the file. */\n\n"
        "/* About A. */\nstruct A {\n"
        "  int a;  /* @range 0..5: a is small */\n"
        "  /* @name\n   * more of b */\n  string b<9>;\n"
        "  int c;  /* plain */\n};\n");
    cr_assert_eq(run.messages.text(), "", "%s", run.messages.text().c_str());
    const Type& a = run.type(0);
    cr_assert_eq(a.prose.size(), 1U);
    cr_assert_eq(a.prose[0], "About A.");
    cr_assert_eq(a.fields[0].prose[0], "a is small");
    cr_assert_eq(a.fields[2].prose[0], "plain");
    cr_assert(run.checker.model().types[a.fields[0].type].ranged);
    cr_assert(run.checker.model().types[a.fields[1].type].kind == Kind::name);
}

Test(notes, without_an_owner_are_errors) {
    expect("struct A { int a; /* @range 0..1 */ };\n/* @acl none */\n",
           "t.x:1:22: error: @range stands beside nothing that it could describe\n"
           "t.x:2:4: error: @acl stands beside nothing that it could describe\n");
    expect("const /* @flags */ a = 1;\n",
           "t.x:1:10: error: @flags stands beside nothing that it could describe\n");
}

Test(names, are_looked_up_with_suggestions) {
    expect("typedef string Text<9>;\nstruct A { Txt a; };\n",
           "t.x:2:12: error: no type is called \"Txt\" up to here (did you mean \"Text\"?)\n");
    expect("const max_names = 5;\nstruct A { int a<max_name>; };\n",
           "t.x:2:18: error: no constant is called \"max_name\" (did you mean \"max_names\"?)\n");
    expect("struct A { B b; };\nstruct B { int x; };\n",
           "t.x:1:12: error: no type is called \"B\" up to here\n");
    expect("struct A { A *next; };\n", "t.x:1:12: error: no type is called \"A\" up to here\n");
}

Test(names, are_defined_once) {
    expect("const a = 1;\nconst A = 2;\n", "t.x:2:7: error: \"A\" is defined already\n");
    expect("struct peer_role { int x; };\nenum PeerRole { a = 1 };\n",
           "t.x:2:6: error: \"PeerRole\" is defined already\n");
    expect("struct A { int x; int X; };\n", "t.x:1:23: error: A has a field \"x\" already\n");
    expect("enum E { a = 1, A = 2, b = 1 };\n",
           "t.x:1:17: error: \"A\" is listed already\nt.x:1:28: error: another member has this value\n");
}

Test(types, need_bounds) {
    expect(
        "struct A { int a<>; string b<>; string c[4]; opaque d; int e<0>; int f[4294967295]; bool g<4>; "
        "void; };\n",
        "t.x:1:16: error: \"a\" needs a bound: <MAX>\n"
        "t.x:1:28: error: \"b\" needs a bound: <MAX>\n"
        "t.x:1:33: error: a string is written \"string name<MAX>\"\n"
        "t.x:1:46: error: opaque is written \"opaque name<MAX>\" or \"opaque name[SIZE]\"\n"
        "t.x:1:62: error: a bound is at least 1 and below 2^32 - 8\n"
        "t.x:1:72: error: a bound is at least 1 and below 2^32 - 8\n"
        "t.x:1:85: error: an array of bool is not supported; use int\n"
        "t.x:1:96: error: void stands for no field; leave the declaration out\n");
}

Test(types, saturate_their_sizes) {
    const Run run("typedef string S<4194304>;\nstruct A { S a<16384>; };\nstruct B { A b<100>; };\n");
    cr_assert_eq(run.type(0).most, 0xffffffffU);
    cr_assert_eq(run.type(1).most, 0xffffffffU);
    cr_assert_eq(run.type(1).least, 4U);
}

Test(unions, are_checked) {
    expect("union U switch (hyper h) { case 1: void; };\n",
           "t.x:1:23: error: a union is switched by an int, unsigned int, bool or enumeration\n");
    expect(
        "union U switch (int i) { case 1: int a; case 1: int b; default: void; default: void; };\n",
        "t.x:1:7: error: a union has one default arm at most\nt.x:1:46: error: another arm has this case\n");
    expect("enum E { red = 1 };\nunion U switch (E e) { case rad: int a; };\n",
           "t.x:2:29: error: E has no member \"rad\" (did you mean \"red\"?)\n");
    expect("union U switch (int i) { case 1: int a; case 2: int a; };\n",
           "t.x:1:53: error: another arm is called \"a\"\n");
}

Test(annotations, of_fields_are_checked) {
    expect(
        "struct A {\n/* @range 5..1 */ int a;\n/* @range 0..4294967296 */ unsigned b;\n/* @range 1 */ int "
        "c;\n"
        "/* @range 0..1 */ string d<4>;\n/* @name */ int e;\n/* @quantity */ int f;\n/* @rnage 0..1 */ int "
        "g;\n};\n",
        "t.x:2:11: error: no value of this type is in the range, or the range leaves the type\n"
        "t.x:3:11: error: no value of this type is in the range, or the range leaves the type\n"
        "t.x:4:4: error: write @range MIN..MAX\n"
        "t.x:5:4: error: @range belongs to an integer of 4 or 8 bytes\n"
        "t.x:6:4: error: @name belongs to a string\n"
        "t.x:7:4: error: say what the quantity is: @quantity bytes to copy\n"
        "t.x:8:4: error: @rnage does not belong to a field (did you mean \"range\"?)\n");
}

Test(annotations, of_structures_are_checked) {
    expect("/* @product a b 10 */ struct A { int a; unsigned b; };\n",
           "t.x:1:13: error: \"a\" is neither an array nor an integer that cannot be negative\n");
    expect("/* @product a c 10 */ struct A { unsigned a; unsigned b; };\n",
           "t.x:1:15: error: no field is called \"c\"\n");
    expect("/* @product a b */ struct A { unsigned a; unsigned b; };\n",
           "t.x:1:4: error: write @product FIELD FIELD MAXIMUM\n");
    expect("/* @same_length a b */ struct A { int a<4>; unsigned b; };\n",
           "t.x:1:19: error: \"b\" is no array\n");
    expect("/* @prodcut a b 1 */ struct A { unsigned a; unsigned b; };\n",
           "t.x:1:4: error: @prodcut does not belong to a structure (did you mean \"product\"?)\n");
    expect("/* @product a b 10 */ struct A { /* @range 0..5 */ int a; int b<9>; };\n", "");
}

Test(counts, need_a_range_in_the_arguments_of_a_call) {
    const std::string notes = "@acl none @readonly no";
    expect(program(notes, "struct A { int max_names; };\n"),
           "t.x:1:16: error: \"max_names\" looks like a count in the arguments of run: it needs @range "
           "MIN..MAX, or "
           "@quantity and what it counts if it sizes nothing\n");
    expect(program(notes, "struct B { int nparams; };\nstruct A { B b<4>; };\n"),
           "t.x:1:16: error: \"nparams\" looks like a count in the arguments of run: it needs @range "
           "MIN..MAX, or "
           "@quantity and what it counts if it sizes nothing\n");
    expect(program(notes,
                   "struct A { /* @range 0..9 */ int max_names; /* @quantity bytes */ hyper length; };\n"),
           "");
    expect(program("@event none", "struct A { int max_names; };\n"), "");
    expect("struct A { int max_names; };\n", "");
}

Test(counts, are_known_by_their_names) {
    for (const char* name :
         {"max_names", "maxnames", "nparams", "ncpus", "nitems", "cell_count", "maplen", "map_length", "size",
          "page_size", "limit", "num_keys", "n", "numvfs", "entries", "nnames", "buffer_size"})
        cr_assert(is_count_like(name), "%s", name);
    for (const char* name : {"name", "network", "need_results", "nil", "node", "flags", "id", "start_cell",
                             "type", "timeout", "bandwidth", "offset", "memory", "account_id"})
        cr_assert(!is_count_like(name), "%s", name);
}

Test(procedures, carry_their_annotations) {
    const Run run(program(
        "@acl domain:read\n@acl domain:save if flags has 2 or flags lacks 1\n@readonly unless flags has 8\n"
        "@object domain domain name\n@stream write sparse=4 @fds call=1..3 reply=2\n"
        "@priority high @unauthenticated @driver storage @since 9.9.0\n@aclfilter domain:getattr",
        "struct D { string name<9>; };\nstruct A { D *domain; unsigned int flags; };\n"));
    cr_assert_eq(run.messages.text(), "", "%s", run.messages.text().c_str());
    const Procedure& p = run.procedure(0);
    cr_assert_eq(p.rules.size(), 2U);
    cr_assert_eq(p.rules[1].tests.size(), 2U);
    cr_assert_eq(p.rules[1].tests[0].value, 2U);
    cr_assert_eq(p.readonly, 2U);
    cr_assert(p.objects[0].nullable && !p.objects[0].list);
    cr_assert_eq(p.stream, 2U);
    cr_assert_eq(p.sparse, 4U);
    cr_assert(p.fds[0] == 1 && p.fds[1] == 3 && p.fds[2] == 2 && p.fds[3] == 2);
    cr_assert(p.high_priority && p.before_auth);
    cr_assert_eq(p.driver, "storage");
    cr_assert_eq(p.since, "9.9.0");
    cr_assert_eq(p.filters[0].permission, "getattr");
}

Test(procedures, need_rights_unless_the_program_is_internal) {
    expect("/* @internal */ program p { version v { void run(void) = 1; } = 1; } = 1;\n", "");
    expect("/* @internl */ program p { version v { } = 1; } = 1;\n",
           "t.x:1:4: error: @internl does not belong to a program (did you mean \"internal\"?)\n");
}

Test(procedures, refuse_wrong_annotations) {
    const std::string good = "@acl none @readonly no ";
    expect(program(good + "@acl domian:read"),
           "t.x:3:32: error: no object is called \"domian\" (did you mean \"domain\"?)\n");
    expect(program(good + "@acl domain:raed"),
           "t.x:3:32: error: domain has no permission \"raed\" (did you mean \"read\"?)\n");
    expect(program(good + "@acl domain:read if flag has 1"),
           "t.x:3:47: error: A has no field \"flag\" (did you mean \"flags\"?)\n");
    expect(program(good + "@acl domain:read if flags had 1"),
           "t.x:3:53: error: expected has, lacks or is, found \"had\"\n");
    expect(program(good + "@stream both"),
           "t.x:3:27: error: write @stream read or @stream write, and sparse=BIT if holes are possible\n");
    expect(program(good + "@fds call=33"), "t.x:3:32: error: a message carries 0 to 32 descriptors\n");
    expect(program(good + "@fds call=3..1"), "t.x:3:32: error: a message carries 0 to 32 descriptors\n");
    expect(program(good + "@driver stroage"),
           "t.x:3:27: error: @driver takes one of: hypervisor, storage, network, nodedev, interface, "
           "nwfilter, secret\n");
    expect(program(good + "@object dom domain name"), "t.x:3:35: error: A has no field \"dom\"\n");
    expect(program("@event domain x legacy"), "t.x:3:18: error: no constant is called \"x\"\n");
    expect(program("@event dmoain 1 legacy"),
           "t.x:3:11: error: no event family is called \"dmoain\" (did you mean \"domain\"?)\n");
    expect(program(good + "@raedonly yes"),
           "t.x:3:27: error: @raedonly does not belong to a procedure (did you mean \"readonly\"?)\n");
    expect(
        "/* @internal */ program p { version v { void a(void) = 1; void b(void) = 1; void a(void) = 2; } = "
        "1; } = 1;\n",
        "t.x:1:74: error: a has number 1 already\nt.x:1:82: error: a procedure is called \"a\" already\n");
}

Test(emit, is_the_same_every_time) {
    const std::string source = program("@acl none @readonly yes");
    const Run a(source), b(source);
    const Tables tables = make_tables(a.checker.model(), a.module());
    cr_assert_eq(emit_header(a.checker.model(), a.module(), tables),
                 emit_header(b.checker.model(), b.module(), tables));
    cr_assert_eq(emit_source(a.checker.model(), a.module(), tables),
                 emit_source(b.checker.model(), b.module(), tables));
    cr_assert_eq(make_schema_file(tables), make_schema_file(make_tables(b.checker.model(), b.module())));
}

Test(emit, keeps_words_of_cxx_out_of_the_code) {
    const Run run(
        "/* @internal */ program p { version v { void new(void) = 1; void delete(void) = 2; } = 1; } = 1;\n"
        "struct A { int class; int reader; };\nenum E { default = 0 };\n");
    cr_assert_eq(run.messages.text(), "");
    const std::string header =
        emit_header(run.checker.model(), run.module(), make_tables(run.checker.model(), run.module()));
    for (const char* part : {"new_ = 1", "delete_ = 2", "class_ = 0", "reader_ = 0", "default_ = 0"})
        cr_assert(header.find(part) != header.npos, "%s", part);
}

Test(layout, shows_what_travels) {
    const Run run(program("@acl domain:read if flags has 2 @readonly yes",
                          "struct D { string name<9>; opaque uuid[16]; };\nstruct A { int id; D *domain; "
                          "unsigned int flags; };\n"));
    cr_assert_eq(emit_layout(run.checker.model(), run.module()),
                 "# What t.x puts on the wire. A change is accepted with \"make accept-layout\".\n\n"
                 "struct D 20..32\n"
                 "    0        string<9>                    name\n"
                 "    ~        opaque[16]                   uuid\n\n"
                 "struct A 12..44\n"
                 "    0        int                          id\n"
                 "    4        present                      domain\n"
                 "    ~        string<9>                    domain?.name\n"
                 "    ~        opaque[16]                   domain?.uuid\n"
                 "    ~        unsigned                     flags\n\n"
                 "program p 0x00000020 version 1\n\n"
                 "call 1 run(A) 44 void 0\n"
                 "    readonly allowed\n"
                 "    acl domain:read if flags has 2\n",
                 "%s", emit_layout(run.checker.model(), run.module()).c_str());
}
