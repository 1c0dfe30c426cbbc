// SPDX-License-Identifier: LGPL-2.1-or-later
// scrutiny_findings - what a scrutiny says about its decisions, and what it lets pass while the policy is on
// probation.
#include "tests/unit/scrutiny_rig.h"

using namespace virtgate;
using namespace virtgate::test;
using proto::audit::AuditReason;
using proto::policy::AuditLevel;

namespace {

std::shared_ptr<const Rights> recording(AuditLevel level) {
    Grant mine = on(grant_all_calls(), "mine");
    mine.role = "owner";
    mine.audit = level;
    return rights({mine});
}

const Finding& finding_of(const Ruling& ruling) {
    cr_assert(ruling.finding.has_value());
    return *ruling.finding;
}

}  // namespace

// The client says "mine", and libvirt would act on another: the record has what libvirt knows.
Test(findings, name_what_libvirt_would_act_on) {
    Rig rig(recording(AuditLevel::audit_denied));
    const Ruling ruling =
        rig.call("domain_create", encode(remote::DomainCreateArgs{domain("mine", k_theirs)}));
    cr_assert_eq(ruling.kind, Ruling::Kind::refuse);
    const Finding& finding = finding_of(ruling);
    cr_assert(!finding.allowed);
    cr_assert_eq(finding.reason, AuditReason::reason_object);
    cr_assert_eq(finding.things.size(), 1);
    cr_assert_eq(finding.things[0].name, "theirs");
    cr_assert(finding.things[0].is_known);
    cr_assert(finding.things[0].uuid == k_theirs);
}

Test(findings, name_what_the_client_said_where_nobody_was_asked) {
    Rig rig(rights({on(grant_of({"domain_get_state"}), "mine")}));
    const Ruling ruling =
        rig.call("domain_destroy", encode(remote::DomainDestroyArgs{domain("anything", k_theirs)}));
    cr_assert_eq(rig.questions, 0);
    const Finding& finding = finding_of(ruling);
    cr_assert_eq(finding.reason, AuditReason::reason_no_binding);
    cr_assert_eq(finding.things.at(0).name, "anything");
    cr_assert(!finding.things.at(0).is_known);
}

Test(findings, of_calls_that_are_allowed_come_only_where_a_role_wants_them) {
    const ByteVector create = encode(remote::DomainCreateArgs{domain("mine", k_mine)});
    const ByteVector state = encode(remote::DomainGetStateArgs{domain("mine", k_mine), 0});
    for (const auto& [level, writes, reads] :
         {std::tuple{AuditLevel::audit_none, false, false},
          std::tuple{AuditLevel::audit_denied, false, false},
          std::tuple{AuditLevel::audit_writes, true, false}, std::tuple{AuditLevel::audit_all, true, true}}) {
        Rig rig(recording(level));
        cr_assert_eq(rig.call("domain_create", create).finding.has_value(), writes);
        cr_assert_eq(rig.call("domain_get_state", state).finding.has_value(), reads);
    }
    Rig rig(recording(AuditLevel::audit_all));
    const Ruling ruling = rig.call("domain_create", create);
    const Finding& finding = finding_of(ruling);
    cr_assert(finding.allowed);
    cr_assert_eq(finding.reason, AuditReason::reason_allowed);
    cr_assert_eq(finding.grant->role, "owner");
    cr_assert_eq(finding.things.at(0).name, "mine");
}

// Who may do everything is recorded, too, and still nothing is asked.
Test(findings, of_an_unrestricted_identity_cost_no_question) {
    Grant grant = grant_all_calls();
    grant.everything = true;
    grant.audit = AuditLevel::audit_all;
    Rig rig(rights({grant}));
    const Ruling ruling =
        rig.call("domain_create", encode(remote::DomainCreateArgs{domain("mine", k_theirs)}));
    cr_assert_eq(ruling.kind, Ruling::Kind::pass);
    cr_assert_eq(rig.questions, 0);
    cr_assert(finding_of(ruling).allowed);
    cr_assert(!finding_of(ruling).things.at(0).is_known, "nobody looked");
}

Test(findings, of_look_ups_come_with_the_reply) {
    for (const Uuid& which : {k_mine, k_theirs}) {
        Rig rig(recording(AuditLevel::audit_all));
        const Ruling ruling =
            rig.call("domain_lookup_by_name", encode(remote::DomainLookupByNameArgs{name_of(which)}));
        cr_assert_eq(ruling.kind, Ruling::Kind::pass);
        cr_assert(!ruling.finding.has_value());
        const Outcome outcome =
            rig.reply(rig.header("domain_lookup_by_name"),
                      encode(remote::DomainLookupByNameRet{domain(name_of(which), which)}));
        cr_assert(outcome.finding.has_value());
        cr_assert_eq(outcome.finding->allowed, which == k_mine);
    }
}

Test(probation, lets_pass_what_it_would_refuse_and_says_so) {
    Rig rig(recording(AuditLevel::audit_denied));
    rig.scrutiny.set_rights(recording(AuditLevel::audit_denied), true);
    const ByteVector args = encode(remote::DomainCreateArgs{domain("theirs", k_theirs)});
    const Ruling ruling = rig.call("domain_create", args);
    cr_assert_eq(ruling.kind, Ruling::Kind::pass);
    cr_assert(finding_of(ruling).is_shadowed);
    cr_assert(!finding_of(ruling).allowed);
    cr_assert_eq(finding_of(ruling).reason, AuditReason::reason_object);
    // What is allowed is not noted.
    cr_assert(!rig.call("domain_create", encode(remote::DomainCreateArgs{domain("mine", k_mine)})).finding);
    // A procedure that no role has.
    rig.scrutiny.set_rights(rights({grant_of({})}), true);
    cr_assert(rig.scrutiny.reaches(program(), procedure("domain_create")));
    cr_assert_eq(rig.call("domain_create", args).kind, Ruling::Kind::pass);
}

Test(probation, hides_nothing) {
    Rig rig;
    rig.scrutiny.set_rights(usual_rights(), true);
    const Ruling ruling =
        rig.call("connect_list_all_domains", encode(remote::ConnectListAllDomainsArgs{1, 0}));
    cr_assert_eq(ruling.kind, Ruling::Kind::pass);
    cr_assert(!rig.scrutiny.wants(rpc::reply_to(rig.header("connect_list_all_domains"))));
    const rpc::Header event{program().number,
                            program().version,
                            procedure("domain_event_lifecycle").number,
                            rpc::Type::message,
                            0,
                            rpc::Status::ok};
    cr_assert(!rig.scrutiny.wants(event));
}

Test(probation, does_not_allow_what_nobody_may_do) {
    Rig rig;
    rig.scrutiny.set_rights(usual_rights(), true);
    const Ruling ruling = rig.call("connect_set_identity", ByteVector(8));
    cr_assert_eq(ruling.kind, Ruling::Kind::refuse);
    cr_assert_eq(finding_of(ruling).reason, AuditReason::reason_hard_deny);
}
