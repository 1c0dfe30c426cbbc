// SPDX-License-Identifier: LGPL-2.1-or-later
// programs - tests of programs.d: what a file says, and the exact words of what is refused.
#include "libshared/programs/programs.h"

#include <criterion/criterion.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "proto/programs.h"
#include "proto/xdrgen/checker.h"
#include "proto/xdrgen/emit.h"
#include "proto/xdrgen/lexer.h"
#include "proto/xdrgen/parser.h"

using namespace virtgate;

namespace {

namespace fs = std::filesystem;

// The .schema file of an .x file.
std::string compile(const std::string& source) {
    proto::xdrgen::Messages messages;
    proto::xdrgen::Checker checker(messages);
    const std::uint32_t file = messages.add_file("t.x");
    checker.add(parse(split(source, file, messages), "t", messages));
    cr_assert_not(messages.any(), "%s", messages.text().c_str());
    return make_schema_file(make_tables(checker.model(), checker.model().modules.back()));
}

std::string program(const std::string& name, const std::string& number, const std::string& notes = "",
                    const std::string& procedure = "1") {
    return "struct a { int callback_id; };\nprogram " + name + " { version v { /* @acl none @readonly yes " +
           notes + " */ void f(a) = " + procedure + "; } = 1; } = " + number + ";\n";
}

// A programs.d of its own.
class Directory {
public:
    Directory() {
        char path[] = "/tmp/vgt-programs-XXXXXX";
        cr_assert_not_null(mkdtemp(path));
        path_ = path;
    }
    ~Directory() { fs::remove_all(path_); }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;

    void write(const std::string& name, const std::string& text) const {
        std::ofstream(path_ + "/" + name, std::ios::binary) << text;
    }
    // A good one, with whatever else it says.
    void announce(const std::string& name, const std::string& source, const std::string& more = "") const {
        write(name + ".schema", compile(source));
        write(name + ".toml",
              "schema = \"" + path_ + "/" + name + ".schema\"\nexecutable = \"/bin/true\"\n" + more);
    }
    [[nodiscard]] Result<std::vector<programs::Announced>> read() const {
        return programs::read_programs(path_);
    }
    [[nodiscard]] const std::string& path() const { return path_; }
    void expect(const std::string& complaint) const {
        const auto all = read();
        cr_assert_not(all.has_value());
        cr_assert_neq(all.error().text.find(complaint), std::string::npos, "got:\n%s",
                      all.error().text.c_str());
    }

private:
    std::string path_;
};

}  // namespace

Test(programs, are_read_by_name) {
    const Directory directory;
    directory.announce("zoo", program("zoo", "0x20000002"));
    directory.announce("inventory", program("inventory", "0x20000001"),
                       "shared = true\ndirectories = [\"/var/lib/x\"]\nuser = \"nobody\"\nthreads = 7\n");
    directory.write("README", "no program");
    directory.write(".hidden.toml", "neither");
    const auto all = directory.read();
    cr_assert(all.has_value(), "%s", all.error().text.c_str());
    cr_assert_eq(all->size(), 2U);
    const programs::Announced& one = all->front();
    cr_assert_eq(one.name, "inventory");
    cr_assert_eq(one.uri, "inventory:///");
    cr_assert_eq(one.number, 0x20000001U);
    cr_assert(one.is_shared);
    cr_assert_eq(one.directories.front(), "/var/lib/x");
    cr_assert_eq(one.user, "nobody");
    cr_assert_eq(one.threads, 7U);
    cr_assert_not(all->back().is_shared);
}

Test(programs, need_no_directory) {
    const auto all = programs::read_programs("/nowhere/programs.d");
    cr_assert(all.has_value() && all->empty());
}

Test(programs, say_where_a_file_is_wrong) {
    const Directory directory;
    directory.announce("a", program("a", "0x20000001"), "sharde = true\n");
    directory.expect("a.toml:3:1: error: unknown key \"sharde\" (did you mean \"shared\"?)");
}

Test(programs, say_all_mistakes_at_once) {
    const Directory directory;
    directory.write("a.toml", "schema = \"/nowhere/a.schema\"\n");
    directory.write("B.toml", "");
    directory.expect("a.toml:1:10: error: cannot open /nowhere/a.schema");
    directory.expect("\"executable\" is missing");
    directory.expect("B.toml: the name of a program has to be");
}

Test(programs, refuse_a_schema_that_is_none) {
    const Directory directory;
    directory.announce("a", program("a", "0x20000001"));
    std::string schema = compile(program("a", "0x20000001"));
    schema[schema.size() / 2] ^= 1;
    directory.write("a.schema", schema);
    directory.expect("a.schema: the schema's checksum is wrong");
    directory.write("a.schema", "");
    directory.expect("a.schema: the file is too short to be a schema");
}

Test(programs, refuse_what_belongs_to_others) {
    const struct {
        std::string source, complaint;
    } wrong[] = {
        {program("remote", "0x20000001"), "the name \"remote\" or the number 0x20000001 is libvirt's"},
        {program("a", "0x20008086"), "the name \"a\" or the number 0x20008086 is libvirt's"},
        {program("a", "0x56470003"), "the number 0x56470003 is one of virtgate's own"},
        {program("a", "0x20000001", "@unauthenticated"), "f is @unauthenticated"},
        {program("a", "0x20000001", "@fds call=1"), "f passes descriptors"},
        {program("a", "0x20000001", "", "1024"), "f has number 1024; there is room up to 1023"},
        {"program a { version v { } = 1; } = 0x20000001;\n", "version 1 has no procedure"}};
    for (const auto& [source, complaint] : wrong) {
        const Directory directory;
        directory.announce("a", source);
        directory.expect(complaint);
    }
    const Directory directory;
    directory.announce("a", program("a", "0x20000001"));
    directory.announce("b", program("b", "0x20000001"));
    directory.expect("b.toml:1:10: error: " + directory.path() +
                     "/b.schema: another program has the name \"b\" or the number 0x20000001");
}

Test(programs, are_known_when_they_were_added) {
    cr_assert_null(proto::find_relayed_program(0x20000001, 1));
    const std::string two =
        "program a { version old { /* @acl none @readonly yes */ void f(void) = 1; } = 1;\n"
        "version new { /* @acl none @readonly yes @priority high */ void f(void) = 1;"
        "/* @acl none @readonly no */ void g(void) = 2; } = 2; } = 0x20000001;\n";
    const std::string bytes = compile(two);
    const auto added = proto::add_programs(as_bytes(bytes));
    cr_assert(added.has_value(), "%s", added.error().c_str());
    cr_assert_eq(proto::added_programs().size(), 2U);
    for (const auto find :
         {&proto::find_relayed_program, &proto::find_session_program, &proto::find_program}) {
        cr_assert_not_null(find(0x20000001, 1));
        cr_assert_null(find(0x20000001, 3));
    }
    const proto::ProgramInfo* newest = proto::find_program(0x20000001, 2);
    cr_assert(newest->is_added() && newest->find(1)->is_added && newest->find(1)->high_priority);
    cr_assert_eq(newest->procedures().size(), 2U);
    cr_assert_eq(proto::find_program(0x20000001, 1)->procedures().size(), 1U);
    cr_assert(proto::is_added(0x20000001));
    cr_assert_not(proto::is_added(0x20008086));
    cr_assert_eq(proto::hypervisor_programs().size(), 3U);
    // Nobody can be known twice.
    cr_assert_not(proto::add_programs(as_bytes(bytes)).has_value());
}
