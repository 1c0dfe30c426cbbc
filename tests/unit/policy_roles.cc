// SPDX-License-Identifier: LGPL-2.1-or-later
// policy_roles - what groups, roles and bindings mean, and what is said about wrong ones.
#include <criterion/criterion.h>

#include <algorithm>
#include <string>
#include <vector>

#include "policy/group_table.h"
#include "policy/parse.h"
#include "policy/resolve.h"
#include "policy/rights.h"
#include "policy/table.h"
#include "proto/codec.h"
#include "proto/programs.h"

using namespace virtgate;
using namespace virtgate::policy;

namespace {

std::string complaints_of(const std::vector<std::string>& texts, Table* table = nullptr) {
    Source source;
    Complaints complaints;
    for (std::size_t i = 0; i < texts.size(); ++i)
        parse_file(texts[i], std::to_string(10 * (i + 1)) + ".toml", source, complaints);
    auto resolved = resolve(source, complaints);
    if (table != nullptr) *table = Table(std::move(resolved));
    std::string all;
    for (const Complaints::Line& line : complaints.lines()) all += (all.empty() ? "" : "\n") + line.text;
    return all;
}

// A role r, bound to the identity a on these objects.
std::string file(std::string_view role, std::string_view binding = "objects = { domain = ['glob:*'] }\n") {
    return "version = 1\n[role.r]\n" + std::string(role) + "[[binding]]\nidentity = 'a'\nrole = 'r'\n" +
           std::string(binding) + "[identity.a]\nx509.CN = 'a'\n";
}

void expect(const std::string& text, const std::string& complaint) {
    const std::string got = complaints_of({text});
    cr_expect(got == complaint, "got:\n%s\nwanted:\n%s", got.c_str(), complaint.c_str());
}

Rights rights_of(const std::vector<std::string>& texts, Circumstances circumstances = {.listener = "tls"}) {
    Table table;
    const std::string said = complaints_of(texts, &table);
    cr_assert(said.find("error") == said.npos, "%s", said.c_str());
    auto rights = Rights::decode(*proto::encode(table.rights_of("a", 5)), circumstances);
    cr_assert(rights.has_value());
    cr_assert_eq(rights->generation(), 5);
    return std::move(*rights);
}

bool may(const Rights& rights, std::string_view name,
         std::vector<Object> objects = {{ObjectKind::domain, "x", {}}}, std::uint64_t flags = 0) {
    const auto* info = proto::remote_program().find(name);
    cr_assert_not_null(info, "%s", std::string(name).c_str());
    if (touched_kinds(*info) == 0) objects.clear();
    return rights.judge(proto::remote_program(), *info, flags, objects).allowed;
}

Rights role(std::string_view words) { return rights_of({file(words)}); }

}  // namespace

Test(words, procedures_and_patterns) {
    const Rights some = role("allow = ['proc:remote.DOMAIN_CREATE', 'proc:remote.domain_undefine*']\n");
    cr_assert(may(some, "domain_create"));
    cr_assert(!may(some, "domain_create_with_flags"));
    cr_assert(may(some, "domain_undefine"));
    cr_assert(may(some, "domain_undefine_flags"));
    const Rights all = role("allow = 'proc:remote.*'\n");
    cr_assert(may(all, "domain_destroy"));
    cr_assert(!may(all, "connect_set_identity"));
}

Test(words, permissions_need_all_that_libvirt_asks_for) {
    const Rights start = role("allow = 'perm:domain:start'\n");
    cr_assert(may(start, "domain_create"));
    cr_assert(!may(start, "domain_restore"), "it needs domain:write, too");
    cr_assert(!may(start, "domain_create_xml"));
    const Rights both = role("allow = ['perm:domain:start', 'perm:domain:write']\n");
    cr_assert(may(both, "domain_create_xml"));
    const Rights read = role("allow = 'perm:domain:read'\n");
    cr_assert(may(read, "domain_get_xml_desc"));
    cr_assert(!may(read, "domain_get_xml_desc", {{ObjectKind::domain, "x", {}}}, 1), "the secure flag");
    cr_assert(!may(read, "domain_set_scheduler_parameters"), "where libvirt is wrong");
    cr_assert(!may(read, "connect_set_identity"));
    const Rights unread = role("allow = 'proc:remote.DOMAIN_*'\ndeny = 'perm:domain:read_secure'\n");
    cr_assert(may(unread, "domain_get_xml_desc"));
    cr_assert(!may(unread, "domain_get_xml_desc", {{ObjectKind::domain, "x", {}}}, 1));
}

Test(words, groups_may_nest_and_be_denied) {
    const std::string groups =
        "version = 1\n[group.power]\nprocedures = ['@lifecycle', '@more']\n[group.more]\nprocedures = "
        "'proc:remote.DOMAIN_UNDEFINE'\n";
    const Rights some = rights_of({groups, file("allow = '@power'\ndeny = 'proc:remote.DOMAIN_DESTROY*'\n")});
    cr_assert(may(some, "domain_create"));
    cr_assert(may(some, "domain_undefine"));
    cr_assert(!may(some, "domain_destroy"));
    cr_assert(!may(some, "domain_destroy_flags"));
    const Rights reader = role("allow = '@read-only'\n");
    cr_assert(may(reader, "domain_get_xml_desc"));
    cr_assert(!may(reader, "domain_get_xml_desc", {{ObjectKind::domain, "x", {}}}, 1));
    cr_assert(may(reader, "connect_open"));
    cr_assert(!may(reader, "domain_create"));
}

Test(words, flags_are_denied_and_required) {
    const Rights some = role(
        "allow = '@migrate-source'\ndeny = 'flag:*:VIR_MIGRATE_UNSAFE'\n"
        "require = 'flag:DOMAIN_MIGRATE_PERFORM3*:TLS'\n");
    const std::vector<Object> here{{ObjectKind::domain, "x", {}}};
    cr_assert(may(some, "domain_migrate_perform3", here, 65536));
    cr_assert(!may(some, "domain_migrate_perform3", here, 65536 | 512));
    cr_assert(!may(some, "domain_migrate_perform3", here, 1));
    cr_assert(may(some, "domain_migrate_begin3", here, 1));
}

Test(words, events) {
    const auto& remote = proto::remote_program();
    const auto told = [&](const Rights& rights, std::string_view name) {
        return rights.may_event(remote, *remote.find(name));
    };
    const Rights one = role("allow = 'event:DOMAIN_EVENT_CALLBACK_REBOOT'\n");
    cr_assert(told(one, "domain_event_callback_reboot"));
    cr_assert(!told(one, "domain_event_callback_lifecycle"));
    const Rights all = role("allow = '@events'\n");
    cr_assert(told(all, "domain_event_callback_lifecycle"));
    cr_assert(told(all, "connect_event_connection_closed"));
}

Test(words, of_readers_reach_exactly_what_the_reviewed_list_says) {
    constexpr char k_everything[] =
        "objects = { domain = ['glob:*'], network = ['glob:*'], pool = ['glob:*'], volume = ['glob:*'], "
        "secret = ['glob:*'],"
        " nodedev = ['glob:*'], interface = ['glob:*'], nwfilter = ['glob:*'], path = ['glob:*'] }\n";
    const Rights reader = rights_of({file("allow = ['@read-only']\n", k_everything)});
    std::size_t reached = 0, calls = 0;
    for (const auto* program : {&proto::remote_program(), &proto::qemu_program(), &proto::lxc_program()})
        for (const auto& procedure : program->procedures()) {
            const std::string name =
                (program == &proto::remote_program() ? "" : std::string(program->name) + ".") +
                std::string(procedure.name);
            const auto table = group_table();
            const bool is_listed = std::any_of(table.begin(), table.end(), [&](const GroupRow& row) {
                return row.procedure == name && (row.groups & k_read_only) != 0;
            });
            const bool reaches = reader.need(*program, procedure) != Rights::Need::refused;
            cr_expect(reaches == is_listed, "%s", name.c_str());
            reached += reaches ? 1 : 0;
            ++calls;
        }
    cr_assert(reached > 100 && reached < calls / 2, "%zu of %zu", reached, calls);
}

Test(words, of_readers_need_no_connection_for_writing) {
    cr_expect(role("allow = ['@read-only', '@events', '@keepalive', '@connect-basic']\n").only_reads());
    cr_expect(!role("allow = ['@read-only', 'proc:remote.DOMAIN_CREATE']\n").only_reads());
    cr_expect(!role("allow = ['@read-only', 'proc:qemu.DOMAIN_ATTACH']\n").only_reads());
    // With one of its flags or arguments it is for writers.
    cr_expect(!role("allow = ['proc:remote.DOMAIN_GET_XML_DESC']\n").only_reads());
    cr_expect(!role("allow = ['proc:remote.DOMAIN_INTERFACE_ADDRESSES']\n").only_reads());
    // What a binding for another listener allows does not count, nor what one on probation would.
    const std::string elsewhere = file("allow = ['@admin']\n", "when = { listener = 'unix' }\n");
    cr_expect(rights_of({elsewhere}).only_reads());
    cr_expect(!rights_of({elsewhere}, {.listener = "unix"}).only_reads());
    cr_expect(rights_of({file("allow = ['@admin']\n", "shadow = true\n")}).only_reads());
}

Test(roles_and_bindings, includes_add_and_limits_override) {
    const Rights some = rights_of(
        {"version = 1\n[role.base]\nallow = '@read-only'\nredact = 'domain:read_secure'\naudit = "
         "'none'\nlimits = { "
         "burst = 7, max_payload = '256KiB', idle_timeout = '30m' }\n[global]\nlimits = { connections = 3 "
         "}\n",
         file("include = 'base'\nallow = '@lifecycle'\nlimits = { burst = 3 }\n",
              "objects = { domain = ['glob:*'] }\nlimits = { connections = 9, idle_timeout = 60 }\n")});
    cr_assert(may(some, "domain_create"));
    cr_assert(may(some, "domain_get_state"));
    cr_assert(some.redacts("domain:read_secure"));
    cr_assert_eq(*some.limits().burst, 3);
    cr_assert_eq(*some.limits().max_payload, 256 * 1024);
    cr_assert_eq(*some.limits().idle_timeout, 60);
    cr_assert_eq(*some.limits().connections, 3);
    cr_assert(!some.limits().calls_per_second.has_value());
    cr_assert_eq(some.grants()[0].audit, proto::policy::AuditLevel::audit_none);
}

Test(roles_and_bindings, of_several_roles_the_most_permissive_limit_counts) {
    const Rights some =
        rights_of({file("allow = '@console'\nlimits = { burst = 1 }\n"),
                   "version = 1\n[role.s]\nallow = '@lifecycle'\nlimits = { burst = 5 }\n[role.t]\nallow = "
                   "'@graphics'\n[[binding]]\nidentity = 'a'\nrole = ['s', 't']\nobjects.domain = 'x'\n"});
    cr_assert_eq(*some.limits().burst, 5);
    cr_assert_eq(some.grants().size(), 3);
}

Test(roles_and_bindings, objects) {
    const Rights some =
        rights_of({file("allow = ['@lifecycle', '@read-only']\n",
                        "objects = { domain = ['glob:web-*', "
                        "'uuid:7A0BB41B-68b2-4683-84e5-9502892bea09'], except = ['web-1'] }\n")});
    cr_assert(may(some, "domain_create", {{ObjectKind::domain, "web-2", {}}}));
    cr_assert(!may(some, "domain_create", {{ObjectKind::domain, "web-1", {}}}));
    cr_assert(!may(some, "network_get_xml_desc", {{ObjectKind::network, "default", {}}}),
              "no networks at all");
    Uuid uuid{std::byte{0x7a}, std::byte{0x0b}, std::byte{0xb4}, std::byte{0x1b},
              std::byte{0x68}, std::byte{0xb2}, std::byte{0x46}, std::byte{0x83},
              std::byte{0x84}, std::byte{0xe5}, std::byte{0x95}, std::byte{0x02},
              std::byte{0x89}, std::byte{0x2b}, std::byte{0xea}, std::byte{0x09}};
    cr_assert(may(some, "domain_create", {{ObjectKind::domain, "zzz", uuid}}));
    // The built-in role is about everything, unless its binding says otherwise.
    const std::string admin =
        "version = 1\n[identity.a]\nx509.CN = 'a'\n[[binding]]\nidentity = 'a'\nrole = 'admin'\n";
    cr_assert(rights_of({admin}).sees_all(ObjectKind::volume));
    const Rights less = rights_of({admin + "objects = { domain = 'x' }\n"});
    cr_assert(may(less, "domain_create"));
    cr_assert(!may(less, "domain_create", {{ObjectKind::domain, "y", {}}}));
    cr_assert(!less.sees_all(ObjectKind::volume));
}

Test(roles_and_bindings, when_and_shadow) {
    const auto text =
        file("allow = '@lifecycle'\n",
             "objects.domain = 'x'\nwhen = { listener = ['local'], not_before = '2026-12-01', not_after "
             "= '2026-12-01T12:00:00Z' }\n");
    constexpr std::int64_t k_noon = 1796126400;
    static std::int64_t now = 0;
    const auto at = [&](std::string_view listener, std::int64_t time) {
        now = time;
        return may(rights_of({text}, {.listener = listener, .clock = []() noexcept { return now; }}),
                   "domain_create");
    };
    cr_assert(at("unix", k_noon));
    cr_assert(at("unix-ro", k_noon - 43200));
    cr_assert(!at("unix", k_noon + 1));
    cr_assert(!at("unix", k_noon - 43201));
    cr_assert(!at("tls", k_noon));
    const Rights shadow =
        rights_of({file("allow = '@lifecycle'\n", "objects.domain = 'x'\nshadow = true\n")});
    cr_assert(!may(shadow, "domain_create"));
}

Test(roles_and_bindings, mean_the_same_in_any_order) {
    std::vector<std::string> files{
        "version = 1\n[identity.a]\nx509.CN = 'a'\n", "version = 1\n[role.r]\nallow = '@lifecycle'\n",
        "version = 1\n[role.s]\nallow = '@read-only'\ndeny = 'proc:remote.DOMAIN_DESTROY'\n",
        "version = 1\n[[binding]]\nidentity = 'a'\nrole = ['s', 'r']\nobjects.domain = 'glob:*'\n"};
    const auto compile = [&] {
        Source source;
        Complaints complaints;
        // Names of files are part of the table; here they are those of the contents.
        for (const auto& text : files) parse_file(text, std::to_string(text.size()), source, complaints);
        cr_assert_eq(complaints.errors(), 0);
        return resolve(source, complaints);
    };
    const auto first = compile();
    std::sort(files.begin(), files.end());
    do cr_assert(compile() == first);
    while (std::next_permutation(files.begin(), files.end()));
}

Test(complaints_about_words, have_a_suggestion) {
    expect(file("allow = 'proc:remote.DOMAIN_CREAT'\n"),
           "10.toml:3:9: error: remote has no call \"DOMAIN_CREAT\" (did you mean \"DOMAIN_CREATE\"?)");
    expect(file("allow = 'DOMAIN_CREATE'\n"),
           "10.toml:3:9: error: \"DOMAIN_CREATE\" is no permission (did you mean "
           "\"proc:remote.DOMAIN_CREATE\"?)");
    expect(file("allow = 'proc:remot.DOMAIN_CREATE'\n"),
           "10.toml:3:9: error: \"remot.DOMAIN_CREATE\" begins with no program: remote, qemu, lxc or lock");
    expect(file("allow = 'perm:domain:strat'\n"),
           "10.toml:3:9: error: libvirt has no permission \"domain:strat\" (did you mean \"domain:start\"?)");
    expect(file("allow = ['@read-onyl']\n"),
           "10.toml:3:10: error: unknown procedure group \"@read-onyl\" (did you mean \"@read-only\"?)");
    expect(file("allow = '@lifecycle'\ndeny = 'flag:DOMAIN_SHUTDOWN_FLAGS:GUEST_AGNT'\n"),
           "10.toml:4:8: error: unknown flag \"GUEST_AGNT\"");
    expect(file("allow = '@lifecycle'\ndeny = 'flag:DOMAIN_CREATE:*'\n"),
           "10.toml:4:8: warning: DOMAIN_CREATE has no flags: this changes nothing");
    expect(file("allow = 'flag:DOMAIN_SHUTDOWN_FLAGS:SIGNAL'\n"),
           "10.toml:3:9: error: flags are allowed with their procedure: write this under \"deny\" or "
           "\"require\"");
    expect(file("allow = 'proc:remote.CONNECT_SET_IDENTITY'\n"),
           "10.toml:3:9: error: CONNECT_SET_IDENTITY can be allowed to nobody");
    expect(file("allow = 'proc:qemu.DOMAIN_MONITOR_COMMAND'\n"),
           "10.toml:3:9: error: DOMAIN_MONITOR_COMMAND passes on anything: it needs \"allow_monitor_commands "
           "= true\" "
           "under [global]");
    expect(file("allow = 'event:DOMAIN_CREATE'\n"),
           "10.toml:3:9: error: remote has no event \"DOMAIN_CREATE\"");
}

Test(complaints_about_words, about_groups_and_includes) {
    expect(
        "version = 1\n[group.g]\nprocedures = '@h'\n[group.h]\nprocedures = '@g'\n[role.r]\nallow = '@g'\n",
        "10.toml:5:14: error: the group \"g\" contains itself");
    expect("version = 1\n[group.read-only]\nprocedures = '@console'\n",
           "10.toml:2:8: error: the group \"read-only\" is built in");
    expect("version = 1\n[group.g]\nprocedures = '@console'\n",
           "10.toml:2:8: warning: no role uses the group \"g\"");
    expect("version = 1\n[role.r]\ninclude = 's'\n[role.s]\ninclude = 'r'\n",
           "10.toml:3:11: error: the role \"s\" includes itself\n10.toml:5:11: error: the role \"r\" "
           "includes itself");
    expect("version = 1\n[role.r]\ninclude = 'q'\n", "10.toml:3:11: error: unknown role \"q\"");
    expect("version = 1\n[role.r]\nallow = '@console'\n", "10.toml:2:7: warning: nobody has the role \"r\"");
}

Test(complaints_about_words, about_power) {
    const std::string warning =
        "10.toml:2:7: warning: role \"r\" is root-equivalent: domain:write lets it name any host file";
    expect(file("allow = ['perm:domain:write', 'perm:domain:save']\n"), warning);
    expect(file("allow = '@define'\n"), warning);
    expect(file("allow = '@admin'\n"), "");
    expect(file("allow = '@lifecycle'\n"), "");
    expect(file("allow = '@lifecycle'\n", ""),
           "10.toml:6:8: warning: the role \"r\" acts on objects and the binding names none: add objects = { "
           "domain = "
           "[\"glob:*\"] }, or what is meant");
}

Test(complaints_about_words, about_bindings) {
    const std::string role = "allow = '@lifecycle'\n";
    expect(file(role, "objects = { domian = ['x'] }\n"),
           "10.toml:7:13: error: unknown key \"domian\" of objects (did you mean \"domain\"?)");
    expect(file(role, "objects.domain = 'web-*'\n"),
           "10.toml:7:18: error: \"web-*\" is no domain: a pattern begins with \"glob:\"");
    expect(file(role, "objects = { domain = 'x', volume = 'v' }\n"),
           "10.toml:7:36: error: \"v\" is no volume: write POOL/VOLUME");
    expect(file(role, "objects = { domain = 'uuid:12', interface = 'uuid:12' }\n"),
           "10.toml:7:22: error: \"uuid:12\" is no domain: a UUID has 32 hexadecimal digits\n"
           "10.toml:7:45: error: \"uuid:12\" is no interface: objects of this kind have no UUID");
    expect(
        file(role, "objects = { domain = 'x', path = 'srv' }\n"),
        "10.toml:7:34: error: \"srv\" is no path: a path begins with a slash and leads straight to its end");
    expect(file(role, "objects.domain = 'x'\nwhen = { listener = 'tsl' }\n"),
           "10.toml:8:21: error: unknown listener \"tsl\" (did you mean \"tls\"?)");
    expect(file(role, "objects.domain = 'x'\nwhen = { not_before = '2026-11-31' }\n"),
           "10.toml:8:23: error: \"not_before\" has to be a date, \"2026-12-31\", or a time, "
           "\"2026-12-31T18:00:00Z\"");
    expect(file(role, "objects.domain = 'x'\nlimits = { burst = '3KiB', max_payload = '1MB' }\n"),
           "10.toml:8:20: error: \"burst\" has to be a number\n"
           "10.toml:8:42: error: \"max_payload\" has to be a number of bytes, or a text such as \"256KiB\"");
    expect(file(role + "audit = 'al'\n"),
           "10.toml:4:9: error: \"audit\" has to be none, denied, writes or all (did you mean \"all\"?)");
    expect(file(role + "redact = 'domain:read'\n"),
           "10.toml:4:10: error: nothing is redacted for \"domain:read\" (did you mean "
           "\"domain:read_secure\"?)");
}
