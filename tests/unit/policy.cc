// SPDX-License-Identifier: LGPL-2.1-or-later
// policy - whom a compiled table matches, and what is said about wrong files.
#include <criterion/criterion.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "policy/compiler.h"
#include "policy/files.h"
#include "policy/glob.h"
#include "policy/groups.h"
#include "policy/network.h"
#include "policy/parse.h"
#include "policy/resolve.h"
#include "policy/table.h"
#include "proto/codec.h"
#include "proto/programs.h"

using namespace virtgate;
using namespace virtgate::policy;

namespace {

using Parts = std::vector<proto::who::NamePart>;

proto::who::Who client(Parts subject) {
    proto::who::Who who;
    who.certificate.emplace();
    who.certificate->subject = std::move(subject);
    who.listener = "tls";
    who.source = "192.0.2.7";
    who.strength = 256;
    return who;
}

// All complaints about the files 10.toml, 20.toml … with these texts, one per line.
std::string complaints(const std::vector<std::string>& texts) {
    Source source;
    Complaints complaints;
    for (std::size_t i = 0; i < texts.size(); ++i)
        parse_file(texts[i], std::to_string(10 * (i + 1)) + ".toml", source, complaints);
    static_cast<void>(resolve(source, complaints));
    std::string all;
    for (const Complaints::Line& line : complaints.lines()) all += (all.empty() ? "" : "\n") + line.text;
    return all;
}

Table table_of(std::string_view text) {
    Source source;
    Complaints complaints;
    parse_file(text, "10.toml", source, complaints);
    Table table(resolve(source, complaints));
    cr_assert_eq(complaints.errors(), 0);
    return table;
}

void expect(const std::string& text, const std::string& complaint) {
    const std::string got = complaints({text});
    cr_assert(got == complaint, "got:\n%s\nwanted:\n%s", got.c_str(), complaint.c_str());
}

bool may(const proto::who::Ceiling& ceiling, const proto::ProgramInfo& program, std::string_view procedure) {
    const auto* info = program.find(procedure);
    cr_assert_not_null(info);
    for (const auto& each : ceiling.programs)
        if (each.program == program.number && info->number / 8 < each.procedures.size())
            return (std::to_integer<unsigned>(each.procedures[info->number / 8]) >> (info->number % 8) & 1) !=
                   0;
    return false;
}

constexpr std::string_view k_bind = "\n[[binding]]\nidentity = 'a'\nrole = 'admin'\n";

std::string identity(std::string_view conditions) {
    return "version = 1\n[identity.a]\nx509 = { " + std::string(conditions) + " }" + std::string(k_bind);
}

class Directory {
public:
    Directory() {
        cr_assert_not_null(mkdtemp(path_));
        cr_assert_eq(chmod(path_, 0755), 0);
    }
    ~Directory() { std::filesystem::remove_all(path_); }
    void write(const std::string& name, std::string_view text, mode_t mode = 0644) const {
        std::ofstream(path() + "/" + name) << text;
        cr_assert_eq(chmod((path() + "/" + name).c_str(), mode), 0);
    }
    void link(const std::string& name, const std::string& target) const {
        cr_assert_eq(symlink(target.c_str(), (path() + "/" + name).c_str()), 0);
    }
    [[nodiscard]] std::string path() const { return path_; }

private:
    char path_[32] = "/tmp/virtgate-policy-XXXXXX";
};

}  // namespace

// ---- glob ----------------------------------------

Test(glob, matches_whole_values) {
    cr_assert(matches_glob("", ""));
    cr_assert(!matches_glob("", "a"));
    cr_assert(matches_glob("*", ""));
    cr_assert(matches_glob("*", "anything at all"));
    cr_assert(matches_glob("Acme*", "Acme"));
    cr_assert(matches_glob("Acme*", "Acme Inc"));
    cr_assert(!matches_glob("Acme*", "The Acme"));
    cr_assert(matches_glob("*.example.org", "a.b.example.org"));
    cr_assert(!matches_glob("*.example.org", "a.example.org.evil"));
    cr_assert(matches_glob("kvm??", "kvm07"));
    cr_assert(!matches_glob("kvm??", "kvm7"));
    cr_assert(matches_glob("a*b*c", "a-b-b-c"));
    cr_assert(!matches_glob("a*b*c", "a-c-b"));
    cr_assert(matches_glob("*a*a*a", "aaa"));
    cr_assert(!matches_glob("abc", "ABC"));
}

Test(glob, counts_characters_not_bytes_and_never_matches_control_characters) {
    cr_assert(matches_glob("J?rg", "J\xc3\xb6rg"));
    cr_assert(!matches_glob("J??rg", "J\xc3\xb6rg"));
    cr_assert(matches_glob("?", "\xff"));  // not UTF-8: byte by byte
    cr_assert(!matches_glob("a*b", "a\nb"));
    cr_assert(!matches_glob("a?b", std::string_view("a\0b", 3)));
}

Test(glob, takes_no_more_than_pattern_times_value, .timeout = 5) {
    std::string pattern;
    for (int i = 0; i < 300; ++i) pattern += "a*";
    cr_assert(!matches_glob(pattern + "b", std::string(1024, 'a')));
}

// ---- table ----------------------------------------

Test(table, matches_when_all_conditions_do) {
    const Table table = table_of(identity("CN = 'alice', O = 'glob:Acme*'"));
    cr_assert_not_null(table.match(client({{"CN", "alice"}, {"O", "Acme Inc"}})).rule);
    cr_assert_not_null(table.match(client({{"O", "Acme"}, {"OU", "x"}, {"CN", "alice"}})).rule);
    cr_assert_null(table.match(client({{"CN", "alice"}})).rule);
    cr_assert_null(table.match(client({{"CN", "alice"}, {"O", "Other"}})).rule);
    cr_assert_null(table.match(client({{"CN", "Alice"}, {"O", "Acme"}})).rule);
    cr_assert_null(table.match(client({{"OU", "alice"}, {"O", "Acme"}})).rule);
    cr_assert_null(table.match(client({})).rule);
}

Test(table, never_matches_across_values) {
    const Table exact = table_of(identity("CN = 'admin'"));
    cr_assert_null(exact.match(client({{"CN", "x,CN=admin"}})).rule);
    cr_assert_null(exact.match(client({{"CN", "admin "}})).rule);
    cr_assert_null(exact.match(client({{"CN", "adm"}, {"CN", "in"}})).rule);
    cr_assert_null(exact.match(client({{"CN", "other"}, {"CN", "admin"}})).rule, "one of two names");
    cr_assert_null(exact.match(client({{"CN", "admin"}, {"CN", "admin"}})).rule);
    cr_assert_not_null(exact.match(client({{"CN", "admin"}, {"OU", "a"}, {"OU", "b"}})).rule);
    const Table glob = table_of(identity("CN = 'glob:admin*', O = 'Acme'"));
    cr_assert_null(glob.match(client({{"CN", "admin,O=Acme"}})).rule);
    const Table star = table_of(identity("CN = 'a*'"));
    cr_assert_null(star.match(client({{"CN", "alice"}})).rule, "an asterisk without glob: stands for itself");
    cr_assert_not_null(star.match(client({{"CN", "a*"}})).rule);
}

Test(table, says_which_two_rules_match) {
    const Table table =
        table_of("version = 1\n[identity.a]\nx509 = { CN = 'alice' }\n[identity.b]\nx509 = { O = 'Acme' }\n");
    const auto both = table.match(client({{"CN", "alice"}, {"O", "Acme"}}));
    cr_assert_not_null(both.rule);
    cr_assert_not_null(both.other);
    cr_assert_neq(both.rule, both.other);
    const auto one = table.match(client({{"CN", "alice"}, {"O", "Umbrella"}}));
    cr_assert_eq(one.rule->name, "a");
    cr_assert_eq(one.rule->file, "10.toml");
    cr_assert_eq(one.rule->line, 2);
    cr_assert_null(one.other);
}

Test(table, lets_nobody_in_when_it_is_empty) {
    cr_assert_null(Table().match(client({{"CN", "alice"}})).rule);
    // A rule without conditions cannot be written; if one came, it would match nobody.
    proto::policy::PolicyTable rules{.format = 5, .identities = {}};
    rules.identities.emplace_back();
    cr_assert_null(Table(rules).match(client({{"CN", "alice"}})).rule);
}

Test(table, decodes_what_the_compiler_encodes_and_nothing_else) {
    Source source;
    Complaints complaints;
    parse_file(identity("CN = 'alice'"), "10.toml", source, complaints);
    auto bytes = proto::encode(resolve(source, complaints));
    cr_assert(bytes.has_value());
    const auto table = Table::decode(*bytes);
    cr_assert(table.has_value());
    cr_assert_not_null(table->match(client({{"CN", "alice"}})).rule);
    bytes->push_back(std::byte{0});
    cr_assert(!Table::decode(*bytes).has_value());
    bytes->resize(bytes->size() / 2);
    cr_assert(!Table::decode(*bytes).has_value());
    cr_assert(!Table::decode({}).has_value());
}

// ---- roles ----------------------------------------

Test(roles, admin_may_all_calls_but_those_denied_for_good_and_those_that_pass_on_anything) {
    const std::string text =
        "version = 1\n[identity.a]\nx509.CN = 'a'\n[[binding]]\nidentity = 'a'\nrole = 'admin'\n";
    const std::string open = text + "[global]\nallow_monitor_commands = true\n";
    const Table closed_table = table_of(text), open_table = table_of(open);
    const auto& closed = closed_table.rules()[0].grants.at(0).may;
    const auto& opened = open_table.rules()[0].grants.at(0).may;
    for (const auto* program : {&proto::remote_program(), &proto::qemu_program(), &proto::lxc_program()})
        for (const auto& procedure : program->procedures()) {
            if (procedure.kind != proto::ProcedureInfo::Kind::call) continue;
            const bool is_call = !procedure.before_auth && procedure.name != "connect_set_identity";
            const bool passes_on = program == &proto::qemu_program() &&
                                   (procedure.name.find("monitor") != std::string_view::npos ||
                                    procedure.name.find("agent") != std::string_view::npos);
            cr_assert_eq(may(opened, *program, procedure.name), is_call, "%s",
                         std::string(procedure.name).c_str());
            cr_assert_eq(may(closed, *program, procedure.name), is_call && !passes_on, "%s",
                         std::string(procedure.name).c_str());
        }
    cr_assert_eq(closed.programs.size(), 3);
    cr_assert(closed_table.rules()[0].grants[0].everything);
    cr_assert(!visit_group("@everything", false, [](const auto&, const auto&, std::uint64_t) {}));
}

Test(roles, an_identity_without_a_binding_may_nothing) {
    const Table table = table_of("version = 1\n[identity.a]\nx509 = { CN = 'alice' }\n");
    cr_assert(table.match(client({{"CN", "alice"}})).rule->grants.empty());
}

Test(roles, are_given_by_any_binding_in_any_order) {
    const Table table = table_of(
        "version = 1\n[[binding]]\nidentity = ['a', 'b']\nrole = 'ops'\n[[binding]]\nidentity = 'b'\nrole = "
        "['admin']\n"
        "[role.ops]\nallow = '@admin'\n[identity.a]\nx509.CN = 'a'\n[identity.b]\nx509.CN = 'b'\n");
    const auto* a = table.match(client({{"CN", "a"}})).rule;
    const auto* b = table.match(client({{"CN", "b"}})).rule;
    cr_assert_eq(a->role, "ops");
    cr_assert_eq(b->role, "admin, ops");
    cr_assert(may(a->grants.at(0).may, proto::remote_program(), "domain_create"));
}

// ---- complaints ----------------------------------------

Test(complaints, nothing_wrong) { expect(identity("CN = 'alice'"), ""); }

Test(complaints, have_a_place_and_a_suggestion) {
    expect("version = 1\n[identiy.a]\n",
           "10.toml:2:2: error: unknown key \"identiy\" (did you mean \"identity\"?)");
    expect("version = 1\n[identity.a]\nx508 = { CN = 'a' }" + std::string(k_bind),
           "10.toml:2:11: error: the identity \"a\" has no conditions\n"
           "10.toml:3:1: error: unknown key \"x508\" of an identity (did you mean \"x509\"?)");
    expect(identity("Cn = 'a'"), "10.toml:3:10: error: unknown attribute \"Cn\" (did you mean \"CN\"?)");
    expect("version = 1\n[identity.a]\nx509 = { CN = 'a' }\n[[binding]]\nidentity = 'a'\nrole = 'admim'\n",
           "10.toml:6:8: error: unknown role \"admim\" (did you mean \"admin\"?)");
    expect(
        "version = 1\n[identity.alice]\nx509 = { CN = 'a' }\n[[binding]]\nidentity = ['alice', "
        "'alise']\nrole = 'admin'\n",
        "10.toml:5:22: error: unknown identity \"alise\" (did you mean \"alice\"?)");
    expect("version = 1\n[role.ops]\nallow = ['@admim']\n",
           "10.toml:3:10: error: unknown procedure group \"@admim\" (did you mean \"@admin\"?)");
}

Test(complaints, about_the_version) {
    expect("[role.a]\nallow = '@admin'\n", "10.toml:1:1: error: \"version = 1\" is missing");
    expect("version = 2\n", "10.toml:1:11: error: only version 1 of policy files is known");
    expect("version = '1'\n", "10.toml:1:11: error: only version 1 of policy files is known");
}

Test(complaints, about_conditions_that_would_match_wrongly) {
    expect(identity(""), "10.toml:3:8: error: an empty table of attributes would match everybody");
    expect(identity("CN = ''"), "10.toml:3:15: error: an empty text matches nothing");
    expect(identity("CN = 'glob:'"), "10.toml:3:15: error: an empty text matches nothing");
    expect(identity("CN = 'glob:a[b]'"), "10.toml:3:15: error: character sets are not supported in patterns");
    expect(identity("CN = \"a\\u0000b\""),
           "10.toml:3:15: error: the text contains a control character, which no name has");
    expect(identity("CN = 5"), "10.toml:3:15: error: \"CN\" has to be a text");
}

Test(complaints, about_things_of_a_wrong_type) {
    expect("version = 1\nidentity = 3\n", "10.toml:2:1: error: write [identity.NAME] instead");
    expect("version = 1\n[binding]\nidentity = 'a'\n", "10.toml:2:2: error: write [[binding]] instead");
    expect("version = 1\n[role.ops]\nallow = []\n",
           "10.toml:3:9: error: \"allow\" has to be a text or a list of texts");
    expect("version = 1\n[role.ops]\n", "10.toml:2:7: error: the role \"ops\" allows nothing");
    expect("version = 1\n[role.'o ps']\nallow = '@admin'\n",
           "10.toml:2:7: error: \"o ps\" is no name: use 1 to 64 letters, digits and -_.");
    expect("version = 1\n[[binding]]\nrole = 'admin'\n",
           "10.toml:2:1: error: the binding has no \"identity\"");
    expect("version = 1\n[identity.a]\nx509 = { CN = 'a' }\n",
           "10.toml:2:11: warning: no binding names the identity \"a\": it may do nothing");
}

Test(complaints, about_names_that_are_used_twice) {
    const std::string first = "version = 1\n[identity.a]\nx509 = { CN = 'a' }" + std::string(k_bind);
    const std::string got = complaints({first, "version = 1\n[identity.a]\nx509 = { CN = 'b' }\n"});
    cr_assert_eq(got, "20.toml:2:11: error: the identity \"a\" is defined already, in 10.toml:2");
    expect("version = 1\n[role.admin]\nallow = '@admin'\n",
           "10.toml:2:7: error: the role \"admin\" is built in");
}

Test(complaints, all_of_one_run_in_the_order_of_the_files) {
    const std::string got =
        complaints({"version = 3\n[role.x]\nalow = 1\n", "nonsense", "version = 1\nfoo = 1\n"});
    const std::string wanted =
        "10.toml:1:11: error: only version 1 of policy files is known\n"
        "10.toml:2:7: error: the role \"x\" allows nothing\n"
        "10.toml:3:1: error: unknown key \"alow\" of a role (did you mean \"allow\"?)\n"
        "20.toml:1:";
    cr_assert(got.starts_with(wanted), "%s", got.c_str());
    cr_assert(got.ends_with("\n30.toml:2:1: error: unknown key \"foo\""), "%s", got.c_str());
}

// ---- files ----------------------------------------

Test(files, of_later_directories_hide_earlier_ones) {
    const Directory vendor, local;
    vendor.write("20-b.toml", "vendor b");
    vendor.write("10-a.toml", "vendor a");
    vendor.write("30-c.toml", "vendor c");
    local.write("20-b.toml", "local b");
    local.link("30-c.toml", "/dev/null");
    local.write("notes.txt", "");
    local.write(".hidden.toml", "");
    Complaints complaints;
    const auto files = read_files({vendor.path(), local.path(), "/nonexistent/policy.d"}, complaints);
    cr_assert_eq(files.size(), 2);
    cr_assert_eq(files[0].text, "vendor a");
    cr_assert_eq(files[1].text, "local b");
    cr_assert_eq(files[1].path, local.path() + "/20-b.toml");
    cr_assert_eq(complaints.errors(), 0);
    cr_assert_eq(complaints.lines().size(), 2);
}

Test(files, that_others_could_have_written_are_errors) {
    const Directory directory;
    directory.write("10.toml", "", 0664);
    directory.write("20.toml", "", 0646);
    directory.link("30.toml", "/etc/passwd");
    directory.link("40.toml", "../" + directory.path().substr(5) + "/10.toml");
    cr_assert_eq(mkdir((directory.path() + "/50.toml").c_str(), 0755), 0);
    Complaints complaints;
    cr_assert(read_files({directory.path()}, complaints).empty());
    cr_assert_eq(complaints.errors(), 5);
    const Directory open;
    cr_assert_eq(chmod(open.path().c_str(), 0777), 0);
    Complaints more;
    static_cast<void>(read_files({open.path()}, more));
    cr_assert_eq(more.errors(), 1);
}

Test(files, none_at_all_is_a_warning_and_an_empty_table) {
    const Directory directory;
    Complaints complaints;
    const auto table = compile({directory.path()}, complaints);
    cr_assert(table.identities.empty());
    cr_assert_eq(complaints.errors(), 0);
    cr_assert_eq(complaints.lines().size(), 1);
    cr_assert_eq(complaints.lines()[0].text,
                 directory.path() + ": warning: there is no policy file: nobody may do anything");
}
