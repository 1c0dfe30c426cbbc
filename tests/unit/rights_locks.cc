// SPDX-License-Identifier: LGPL-2.1-or-later
// rights_locks - tests of rights about the program lock: its objects, its group, and what the lock daemon gets of them.
#include "policy/complaints.h"
#include "policy/groups.h"
#include "policy/lock_rights.h"
#include "policy/parse.h"
#include "policy/resolve.h"
#include "tests/unit/rights_rig.h"

using namespace virtgate;
using namespace virtgate::test;

namespace {

constexpr const char* k_policy = R"(
version = 1
[role.locks]
allow = ["@locks"]
deny = ["proc:lock.DELETE_RESOURCE"]
[role.other]
allow = ["@read-only"]
[role.no-new]
deny = ["proc:lock.NEW"]
[identity.a]
x509 = { CN = "a" }
[[binding]]
identity = "a"
role = "locks"
objects = { lock = ["glob:/images/*", "/disks/one"], domain = ["glob:*"] }
except = { lock = ["/images/secret"] }
keep = true
[[binding]]
identity = "a"
role = "other"
objects = { domain = ["glob:*"], lock = ["glob:/elsewhere/*"] }
[[binding]]
identity = "a"
role = "no-new"
objects = { domain = ["x"] }
[[binding]]
identity = "a"
role = "admin"
)";

IdentityRights compile(std::string_view text) {
    Complaints complaints;
    Source source;
    parse_file(text, "10.toml", source, complaints);
    const auto table = resolve(source, complaints);
    cr_assert_eq(complaints.errors(), 0);
    return {.generation = 7, .identity = "a", .grants = table.identities.at(0).grants, .limits = {}};
}

Decision judge_lock(const Rights& rights, std::string_view procedure, std::string_view name) {
    const auto& program = proto::lock_program();
    const Object object{ObjectKind::lock, name, std::nullopt};
    return rights.judge(program, *program.find(procedure), 0, {&object, 1});
}

}  // namespace

Test(rights_locks, a_lock_is_judged_by_its_name) {
    const auto all = compile(k_policy);
    for (const bool is_pruned : {false, true}) {
        const Rights rights(is_pruned ? lock_rights(all) : all);
        for (const char* name : {"/images/a", "/images/a/b", "/disks/one"}) {
            const Decision decision = judge_lock(rights, "acquire_resource", name);
            cr_assert(decision.allowed && decision.grant->keep && decision.grant->role == "locks", "%s",
                      name);
            cr_assert_eq(judge_lock(rights, "delete_resource", name).reason, Reason::denied_by_rule);
        }
        for (const char* name : {"/images/secret", "/images", "/disks/one/more", "/elsewhere/a", ""})
            cr_assert_eq(judge_lock(rights, "acquire_resource", name).reason, Reason::object, "%s", name);
        // A deny of a role that names no lock is about all of them.
        cr_assert_eq(judge_lock(rights, "new", "/images/a").reason, Reason::denied_by_rule);
        cr_assert(judge_lock(rights, "create_lockspace", "/images/a").allowed);
    }
}

Test(rights_locks, nobody_may_lock_who_is_not_told_so) {
    const auto only_admin = compile(
        "version = 1\n[identity.a]\nx509 = { CN = 'a' }\n[[binding]]\nidentity = 'a'\nrole = 'admin'\n");
    cr_assert_not(may_lock(only_admin));
    const Rights rights{IdentityRights(only_admin)};
    for (const auto& procedure : proto::lock_program().procedures())
        cr_assert_not(judge_lock(rights, procedure.name, "/a").allowed);
    cr_assert(may_lock(compile(k_policy)));
}

Test(rights_locks, every_call_about_a_resource_is_about_a_lock) {
    for (const auto& procedure : proto::lock_program().procedures()) {
        const bool is_about_itself = procedure.name == "register" || procedure.name == "restrict";
        cr_assert_eq(touched_kinds(procedure), is_about_itself ? 0 : bit(ObjectKind::lock), "%s",
                     std::string(procedure.name).c_str());
    }
}

Test(rights_locks, the_lock_daemon_gets_nothing_else) {
    auto rights = compile(k_policy);
    const auto pruned = lock_rights(rights);
    cr_assert_eq(pruned.grants.size(), 2, "not what is about other programs");
    for (const auto& grant : pruned.grants) {
        for (const auto& pattern : grant.objects)
            cr_assert_eq(pattern.kind, proto::policy::ObjectKind::object_lock);
        for (const auto* ceiling : {&grant.may, &grant.deny})
            for (const auto& program : ceiling->programs)
                cr_assert_eq(program.program, proto::lock_program().number);
    }
    for (auto& grant : rights.grants) grant.shadow = true;
    cr_assert_not(may_lock(rights), "what is on probation allows nothing");
}

Test(rights_locks, reading_domains_and_locking_needs_no_connection_that_writes) {
    const auto rights = compile(
        "version = 1\n[role.r]\nallow = ['@read-only', '@locks']\n[identity.a]\nx509 = { CN = 'a' "
        "}\n[[binding]]\n"
        "identity = 'a'\nrole = 'r'\nobjects = { lock = '/a' }\n");
    cr_assert(only_reads(rights) && Rights{IdentityRights(rights)}.only_reads());
}

Test(rights_locks, names_in_a_policy_lead_straight_to_their_end) {
    for (const char* name : {"a/b", "/a/../b", "/a//b", "uuid:7a0bb41b-68b2-4683-84e5-9502892bea09"}) {
        Complaints complaints;
        Source source;
        parse_file(
            fmt::format("version = 1\n[[binding]]\nidentity = 'a'\nrole = 'r'\nobjects = {{ lock = '{}' }}\n",
                        name),
            "10.toml", source, complaints);
        cr_assert_neq(complaints.errors(), 0, "%s", name);
    }
}
