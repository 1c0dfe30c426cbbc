// SPDX-License-Identifier: LGPL-2.1-or-later
// policy_xml - rules about XML: as they are written, as they are judged, and which calls they are about.
#include "policy/parse.h"
#include "policy/resolve.h"
#include "policy/table.h"
#include "policy/xml_calls.h"
#include "tests/unit/rights_rig.h"

using namespace virtgate;
using namespace virtgate::test;

namespace {

using Kind = XmlMisfit::Kind;
using proto::policy::XmlRule;

XmlMisfit judge(const XmlRule& rule, const XmlFacts& facts) { return find_misfit(rule, &facts); }

Kind path(std::vector<std::string> paths, std::string named, bool is_program = false) {
    return judge({.forbid = {}, .paths = std::move(paths)}, {.paths = {{std::move(named), is_program}}}).kind;
}

// ---- files ----------------------------------------

std::string complaints_of(const std::string& text, Table* table = nullptr) {
    Source source;
    Complaints complaints;
    parse_file(text, "10.toml", source, complaints);
    auto resolved = resolve(source, complaints);
    if (table != nullptr) *table = Table(std::move(resolved));
    std::string all;
    for (const Complaints::Line& line : complaints.lines()) all += (all.empty() ? "" : "\n") + line.text;
    return all;
}

// A role r, bound to the identity a on all machines.
std::string file(std::string_view role) {
    return "version = 1\n[role.r]\n" + std::string(role) +
           "[[binding]]\nidentity = 'a'\nrole = 'r'\nobjects.domain = 'glob:*'\n[identity.a]\nx509.CN = "
           "'a'\n";
}

void expect(std::string_view role, std::string_view complaint) {
    const std::string got = complaints_of(file(role));
    cr_expect(got == complaint, "got:\n%s\nwanted:\n%s", got.c_str(), std::string(complaint).c_str());
}

std::vector<XmlRule> rules_of(const std::string& text) {
    Table table;
    const std::string said = complaints_of(text, &table);
    cr_assert(said.find("error") == said.npos, "%s", said.c_str());
    const auto rights = table.rights_of("a", 1);
    cr_assert_eq(rights.grants.size(), 1);
    return rights.grants[0].xml;
}

constexpr std::string_view k_powerful =
    "10.toml:2:7: warning: role \"r\" is root-equivalent: domain:write lets it name any host file";

}  // namespace

// ---- judging ----------------------------------------

Test(xml_rule, paths_hold_what_lies_below_them) {
    cr_assert_eq(path({"/srv/vm"}, "/srv/vm"), Kind::none);
    cr_assert_eq(path({"/srv/vm"}, "/srv/vm/a/b"), Kind::none);
    cr_assert_eq(path({"/srv/vm"}, "/srv/vm/"), Kind::none);
    cr_assert_eq(path({"/srv/vm"}, "/srv/vmx"), Kind::path);
    cr_assert_eq(path({"/srv/vm"}, "/srv"), Kind::path);
    cr_assert_eq(path({"/srv/vm", "/usr/share/OVMF"}, "/usr/share/OVMF/OVMF_CODE.fd"), Kind::none);
    cr_assert_eq(path({"/"}, "/etc/shadow"), Kind::none);
    cr_assert_eq(path({}, "/etc/shadow"), Kind::none, "no paths: no rule about them");
    const XmlFacts shadow{.paths = {{"/etc/shadow"}}};
    cr_assert_eq(describe(judge({.forbid = {}, .paths = {"/srv"}}, shadow)), "the XML names /etc/shadow");
}

Test(xml_rule, crooked_paths_lie_nowhere) {
    for (const char* crooked :
         {"/srv/vm/../../etc/shadow", "/srv/vm/..", "/srv/vm/.", "/srv/vm/./a", "/srv/vm//a", "//srv/vm",
          "/..", "srv/vm/a", "", " /srv/vm/a", "/srv/vm/a/../b", "../srv/vm"})
        cr_assert_eq(path({"/srv/vm", "/"}, crooked), Kind::crooked, "%s", crooked);
    for (const char* straight :
         {"/srv/vm/..a", "/srv/vm/a..", "/srv/vm/...", "/srv/vm/.hidden", "/srv/vm/a.b"})
        cr_assert_eq(path({"/srv/vm"}, straight), Kind::none, "%s", straight);
}

Test(xml_rule, devices_without_content_always_fit) {
    for (const char* device : {"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"}) {
        cr_assert_eq(path({"/srv/vm"}, device), Kind::none);
        cr_assert_eq(path({"/srv/vm"}, device, true), Kind::program);
    }
    cr_assert_eq(path({"/srv/vm"}, "/dev/urandom/x"), Kind::path);
    cr_assert_eq(path({"/srv/vm"}, "/dev/sda"), Kind::path);
}

Test(xml_rule, programs_are_named_themselves) {
    cr_assert_eq(path({"/usr/bin/qemu"}, "/usr/bin/qemu", true), Kind::none);
    cr_assert_eq(path({"/usr/bin"}, "/usr/bin/qemu", true), Kind::program);
    cr_assert_eq(path({"/"}, "/usr/bin/qemu", true), Kind::program);
    cr_assert_eq(path({"/srv/vm"}, "/srv/vm/evil", true), Kind::program);
}

Test(xml_rule, forbidden_elements_and_what_cannot_be_read) {
    const XmlRule no_devices{.forbid = {"hostdev", "qemu:commandline"}, .paths = {}};
    cr_assert(!judge(no_devices, {.elements = {"disk", "domain"}}));
    cr_assert_eq(judge(no_devices, {.elements = {"disk", "hostdev"}}).what, "hostdev");
    cr_assert_eq(judge(no_devices, {.elements = {"commandline", "qemu:commandline"}}).kind, Kind::element);
    cr_assert(!judge(no_devices, {.elements = {"commandline", "lxc:commandline"}}));
    cr_assert_eq(judge(no_devices, {.flaw = "it is too large"}).kind, Kind::flaw);
    cr_assert_eq(find_misfit(no_devices, nullptr).kind, Kind::unread);
    // What is beyond paths matters only with paths.
    cr_assert(!judge(no_devices, {.power = "a device"}));
    cr_assert_eq(judge({.forbid = {}, .paths = {"/srv"}}, {.power = "a device"}).kind, Kind::power);
}

// ---- rights ----------------------------------------

namespace {

Grant definer(std::vector<XmlRule> rules) {
    Grant made = grant("definer", {"domain_define_xml", "domain_create"}, {glob(ObjectKind::domain, "*")});
    made.xml = std::move(rules);
    return made;
}

Decision define(const Rights& rights, const XmlFacts* facts) {
    return rights.judge(proto::remote_program(), call("domain_define_xml"), 0, {}, bit(ObjectKind::domain),
                        facts);
}

const XmlRule k_srv{.forbid = {}, .paths = {"/srv"}};

}  // namespace

Test(rights_and_xml, need_a_look_at_it) {
    const Rights some = rights({definer({k_srv})});
    cr_assert_eq(need(some, "domain_define_xml"), Need::objects);
    cr_assert(some.looks_at_xml(proto::remote_program(), call("domain_define_xml")));
    cr_assert_eq(need(some, "domain_create"), Need::allowed, "there is no XML in this");
    cr_assert(!some.looks_at_xml(proto::remote_program(), call("domain_create")));
    const XmlFacts good{.paths = {{"/srv/a"}}}, bad{.paths = {{"/etc/a"}}};
    cr_assert(define(some, &good).allowed);
    const Decision refused = define(some, &bad);
    cr_assert_eq(refused.reason, Reason::constraint);
    cr_assert_eq(refused.grant->role, "definer");
    cr_assert_eq(describe(refused.misfit), "the XML names /etc/a");
    cr_assert_eq(define(some, nullptr).misfit.kind, Kind::unread, "nobody has looked");
}

Test(rights_and_xml, of_several_grants_one_has_to_fit) {
    const XmlRule etc{.forbid = {}, .paths = {"/etc"}};
    const Rights two = rights({definer({k_srv}), definer({etc})});
    const XmlFacts srv{.paths = {{"/srv/a"}}}, both{.paths = {{"/srv/a"}, {"/etc/a"}}};
    cr_assert(define(two, &srv).allowed);
    cr_assert(!define(two, &both).allowed, "grants do not add up");
    cr_assert(!define(rights({definer({k_srv, etc})}), &srv).allowed, "all rules of one grant hold");
    // A grant without rules needs no look.
    const Rights free = rights({definer({k_srv}), definer({})});
    cr_assert_eq(need(free, "domain_define_xml"), Need::allowed);
    cr_assert(define(free, nullptr).allowed);
}

Test(rights_and_xml, a_deny_is_a_deny_whatever_the_xml_is) {
    Grant deny = definer({k_srv});
    deny.may = {};
    set(deny.deny, "domain_define_xml");
    const XmlFacts bad{.paths = {{"/etc/a"}}};
    cr_assert_eq(define(rights({definer({}), deny}), &bad).reason, Reason::denied_by_rule);
}

Test(rights_and_xml, on_probation) {
    Grant shadow = definer({k_srv});
    shadow.shadow = true;
    const Rights alone = rights({shadow});
    cr_assert(alone.looks_at_xml(proto::remote_program(), call("domain_define_xml")));
    const XmlFacts good{.paths = {{"/srv/a"}}}, bad{.paths = {{"/etc/a"}}};
    cr_assert_not_null(define(alone, &good).shadow);
    cr_assert_null(define(alone, &bad).shadow);
}

// ---- as it is written ----------------------------------------

Test(xml_in_policies, is_compiled) {
    const auto rules = rules_of(
        file("allow = '@define'\nxml = { forbid = ['hostdev', 'qemu:commandline'], paths = '/srv/vm' }\n"));
    cr_assert_eq(rules.size(), 1);
    cr_assert(rules[0].forbid == std::vector<std::string>({"hostdev", "qemu:commandline"}));
    cr_assert(rules[0].paths == std::vector<std::string>({"/srv/vm"}));
}

Test(xml_in_policies, of_what_is_included_adds_up) {
    const std::string base = "[role.base]\nallow = '@define'\nxml.paths = ['/srv', '/usr/share']\n";
    cr_assert_eq(rules_of(file("include = 'base'\n") + base).size(), 1);
    const auto rules = rules_of(file("include = 'base'\nxml.forbid = 'hostdev'\n") + base);
    cr_assert_eq(rules.size(), 2, "the own does not replace it");
    cr_assert_eq(rules[0].paths.size(), 2);
    cr_assert_eq(rules[1].forbid.size(), 1);
    // Twice the same is once.
    cr_assert_eq(
        rules_of(file("include = ['base', 'more']\n") + base + "[role.more]\ninclude = 'base'\n").size(), 1);
    const std::string said =
        complaints_of(file("include = 'base'\nxml.paths = ['/srv/vm', '/etc']\n") + base);
    cr_assert_eq(
        said,
        "10.toml:4:25: warning: \"/etc\" lies outside of what an included role is restricted to: this "
        "allows nothing more",
        "%s", said.c_str());
}

Test(xml_in_policies, mistakes_are_found) {
    const std::string role = "allow = '@define'\n", free = fmt::format("{}\n", k_powerful);
    expect(role + "xml = 'none'\n", free + "10.toml:4:7: error: \"xml\" has to be a table");
    expect(role + "xml = {}\n",
           free + "10.toml:4:7: error: \"xml\" forbids nothing: write \"forbid\", \"paths\" or both");
    expect(role + "xml = { path = '/srv' }\n",
           free +
               "10.toml:4:7: error: \"xml\" forbids nothing: write \"forbid\", \"paths\" or both\n"
               "10.toml:4:9: error: unknown key \"path\" of xml (did you mean \"paths\"?)");
    expect(role + "xml = { paths = [] }\n",
           free + "10.toml:4:17: error: \"paths\" has to be a text or a list of texts");
    expect(role + "xml = { paths = ['/srv', 1] }\n",
           "10.toml:4:26: error: \"paths\" has to be a list of texts");
    expect(role + "xml = { paths = ['srv/vm'] }\n",
           "10.toml:4:18: error: \"srv/vm\" is no path: a path begins with a slash");
    expect(role + "xml = { paths = ['/srv/vm/'] }\n",
           "10.toml:4:18: error: \"/srv/vm/\" is no path: it ends with a slash");
    for (const std::string_view crooked : {"/srv/../etc", "/srv//vm", "/srv/.", "/.."})
        expect(
            role + fmt::format("xml = {{ paths = ['{}'] }}\n", crooked),
            fmt::format("10.toml:4:18: error: \"{}\" is no path: a path leads straight to its end", crooked));
    expect(role + "xml = { paths = [''] }\n",
           free + "10.toml:4:18: error: \"\" is no path: an empty text means nothing");
    expect(role + "xml = { paths = [\"/srv\\n\"] }\n",
           "10.toml:4:18: error: \"/srv\\x0a\" is no path: control characters are in it");
}

Test(xml_in_policies, names_of_elements_are_checked) {
    const std::string role = "allow = '@define'\n", free = fmt::format("{}\n", k_powerful);
    expect(role + "xml.forbid = 'qmu:commandline'\n",
           free + "10.toml:4:14: error: libvirt has no prefix \"qmu\" (did you mean \"qemu\"?)");
    expect(role + "xml.forbid = '<hostdev>'\n",
           free + "10.toml:4:14: error: \"<hostdev>\" is no element: write ELEMENT, or PREFIX:ELEMENT");
    for (const std::string_view wrong : {"", ":", "qemu:", ":x", "a:b:c", "1a", "a b"})
        expect(
            role + fmt::format("xml.forbid = '{}'\n", wrong),
            free + fmt::format("10.toml:4:14: error: \"{}\" is no element: write ELEMENT, or PREFIX:ELEMENT",
                               wrong));
    expect(role + "xml.forbid = 'hostdv'\n",
           free +
               "10.toml:4:14: warning: \"hostdv\" is an uncommon name for an element (did you mean "
               "\"hostdev\"?)");
    expect(role + "xml.forbid = 'somethingofnewerlibvirts'\n", k_powerful);
}

Test(xml_in_policies, power_is_told_unless_paths_confine_it) {
    expect("allow = '@define'\n", k_powerful);
    expect("allow = '@define'\nxml.paths = '/srv/vm'\n", "");
    expect("allow = '@define'\nxml.forbid = 'hostdev'\n", k_powerful);
    expect("allow = '@define'\nxml.paths = ['/srv/vm', '/']\n", k_powerful);
    expect("allow = 'proc:remote.NETWORK_DEFINE_XML'\n",
           "10.toml:2:7: warning: role \"r\" is root-equivalent: network:write lets it name any host file");
    expect("allow = 'proc:remote.STORAGE_POOL_CREATE_XML'\nxml.paths = '/srv'\n", "");
    expect("allow = 'proc:remote.CONNECT_GET_DOMAIN_CAPABILITIES'\n",
           "10.toml:2:7: warning: role \"r\" is root-equivalent: connect:write lets it run any program of "
           "the host");
    expect("allow = 'proc:remote.DOMAIN_MIGRATE_FINISH3'\n",
           "10.toml:2:7: warning: role \"r\" is root-equivalent: domain:migrate lets it name any host file");
    // What is not in XML is not confined.
    const std::string monitor = complaints_of("[global]\nallow_monitor_commands = true\n" +
                                              file("allow = ['@define', 'proc:qemu.DOMAIN_MONITOR_COMMAND']\n"
                                                   "xml.paths = '/srv/vm'\n"));
    cr_assert(monitor.find("root-equivalent: domain:write") != monitor.npos, "%s", monitor.c_str());
    expect("allow = '@lifecycle'\nxml.paths = '/srv/vm'\n",
           "10.toml:4:1: warning: this changes nothing: the role \"r\" allows no call that takes XML");
}

// ---- the list of calls ----------------------------------------

namespace {

using proto::layout::Section;

const std::vector<const proto::ProgramInfo*> k_programs{&proto::remote_program(), &proto::qemu_program(),
                                                        &proto::lxc_program()};

std::vector<std::string_view> fields_of(const proto::ProgramInfo& program,
                                        const proto::ProcedureInfo& procedure) {
    std::vector<std::string_view> fields;
    if (procedure.args == proto::k_void) return fields;
    const std::uint32_t* row = program.schema.row(Section::types, procedure.args);
    for (std::uint32_t i = 0; i < row[4]; ++i)
        fields.push_back(program.schema.text(program.schema.row(Section::fields, row[3] + i)[1]));
    return fields;
}

bool has(const std::vector<std::string_view>& words, std::string_view word) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

Test(xml_calls, name_arguments_that_there_are) {
    std::size_t rows = 0;
    for (const auto* program : k_programs)
        for (const auto& procedure : program->procedures())
            for (const XmlArgument& row : xml_arguments(*program, procedure)) {
                ++rows;
                const auto fields = fields_of(*program, procedure);
                const std::string_view wanted =
                    row.form == XmlArgument::Form::parameter ? "params" : row.field;
                cr_expect(row.form == XmlArgument::Form::hidden || has(fields, wanted), "%s has no %s",
                          std::string(procedure.name).c_str(), std::string(wanted).c_str());
                cr_expect(row.reuses == 0 || has(fields, "flags"));
            }
    cr_assert_gt(rows, 60);
    // A row that no procedure has would be a gap: each of the list has been found above.
    const auto count = [](std::string_view name) {
        return xml_arguments(proto::remote_program(), call(name)).size();
    };
    cr_assert_eq(count("domain_migrate_prepare3_params"), 3);
    cr_assert_eq(count("domain_backup_begin"), 2);
    cr_assert_eq(count("domain_create"), 0);
    cr_assert(takes_xml(proto::qemu_program(), *proto::qemu_program().find("domain_attach")));
    cr_assert(!takes_xml(proto::qemu_program(), *proto::qemu_program().find("domain_agent_command")));
}

// A call that a newer libvirt brings, and whose argument is called XML, has to be looked at.
Test(xml_calls, leave_nothing_out) {
    const std::vector<std::string_view> harmless{
        "connect_compare_cpu", "connect_baseline_cpu", "connect_find_storage_pool_sources",
        "domain_set_metadata", "network_set_metadata", "domain_save_image_get_xml_desc"};
    for (const auto* program : k_programs)
        for (const auto& procedure : program->procedures()) {
            if (procedure.kind != proto::ProcedureInfo::Kind::call || has(harmless, procedure.name)) continue;
            const auto fields = fields_of(*program, procedure);
            const bool suspicious =
                std::any_of(fields.begin(), fields.end(),
                            [](std::string_view field) {
                                return field.find("xml") != field.npos || field == "emulator";
                            }) ||
                std::any_of(procedure.keys.begin(), procedure.keys.end(), [](const proto::ObjectPlace& key) {
                    return key.how == "xml" || key.how == "image";
                });
            cr_expect(!suspicious || takes_xml(*program, procedure), "%s has not been looked at",
                      std::string(procedure.name).c_str());
        }
}
