// SPDX-License-Identifier: LGPL-2.1-or-later
// rights - decisions about calls, one rule at a time.
#include "policy/rights.h"

#include <algorithm>

#include "policy/migrate_uri.h"
#include "proto/codec.h"
#include "tests/unit/rights_rig.h"

using namespace virtgate;
using namespace virtgate::test;

Test(rights, are_none_without_a_grant) {
    const Rights none = rights({});
    cr_assert_eq(need(none, "domain_create"), Need::refused);
    cr_assert_eq(judge(none, "domain_create", {domain("a")}).reason, Reason::no_binding);
    cr_assert(!judge(none, "connect_get_version").allowed);
    cr_assert(!none.sees(domain("a")));
    cr_assert(!none.sees_all(ObjectKind::domain));
    cr_assert_eq(none.generation(), 7);
    cr_assert_eq(none.identity(), "a");
}

Test(rights, of_objects_by_name_pattern_and_uuid) {
    using enum ObjectKind;
    const Rights some = rights({grant("r", {"domain_create", "domain_get_state"},
                                      {exact(ObjectKind::domain, "a"), glob(ObjectKind::domain, "web-*"),
                                       pattern(ObjectKind::domain, PatternKind::pattern_uuid, k_digits)})});
    cr_assert_eq(need(some, "domain_create"), Need::objects);
    cr_assert(judge(some, "domain_create", {virtgate::policy::Object{ObjectKind::domain, "a", {}}}).allowed);
    cr_assert(judge(some, "domain_create", {::domain("web-7")}).allowed);
    cr_assert(judge(some, "domain_create", {::domain("zzz", true)}).allowed);
    cr_assert_eq(judge(some, "domain_create", {::domain("zzz")}).reason, Reason::object);
    cr_assert_eq(judge(some, "domain_create", {::domain("aa")}).reason, Reason::object);
    cr_assert_eq(judge(some, "domain_create").reason, Reason::object, "a call on nothing that is known");
    cr_assert_eq(judge(some, "domain_destroy", {::domain("a")}).reason, Reason::no_binding);
    cr_assert(some.sees(::domain("web-1")));
    cr_assert(!some.sees(::domain("db")));
    cr_assert(!some.sees({network, "a", {}}));
    cr_assert(!some.sees_all(ObjectKind::domain));
    cr_assert_eq(judge(some, "domain_create", {::domain("a")}).grant->role, "r");
}

Test(rights, need_nothing_else_when_all_is_allowed) {
    Grant all = grant("r", {"domain_create", "connect_get_version", "domain_save"}, {});
    all.everything = true;
    const Rights free = rights({all});
    cr_assert_eq(need(free, "domain_create"), Need::allowed);
    cr_assert_eq(need(free, "domain_save"), Need::allowed);
    cr_assert(free.sees_all(ObjectKind::domain));
    cr_assert(!free.sees_all(ObjectKind::network), "no call that shows networks");
    all.denied_flags = {flags("domain_create", 2)};
    cr_assert_eq(need(rights({all}), "domain_create"), Need::flags);
    all.denied_flags.clear();
    all.conditions = {flags("domain_create", 0, 4)};
    cr_assert_eq(need(rights({all}), "domain_create"), Need::flags);
    Grant deny;
    set(deny.deny, "domain_create");
    deny.objects = {exact(ObjectKind::domain, "a")};
    cr_assert_eq(need(rights({all, deny}), "domain_create"), Need::objects);
    deny.everything = true;
    deny.objects.clear();
    cr_assert_eq(need(rights({all, deny}), "domain_create"), Need::refused);
    // A restriction on objects does not matter to a call that has none.
    const Rights narrow = rights({grant("r", {"connect_get_version", "connect_list_all_domains"}, {})});
    cr_assert_eq(need(narrow, "connect_get_version"), Need::allowed);
    cr_assert_eq(need(narrow, "connect_list_all_domains"), Need::allowed, "the list is filtered");
}

Test(rights, are_denied_whoever_allows) {
    const Grant allow = grant("a", {"domain_create"}, {glob(ObjectKind::domain, "*")});
    Grant deny = grant("z", {}, {glob(ObjectKind::domain, "db*")});
    set(deny.deny, "domain_create");
    for (const auto& grants : {std::vector{allow, deny}, std::vector{deny, allow}}) {
        const Rights both = rights(grants);
        cr_assert(judge(both, "domain_create", {domain("web")}).allowed);
        const Decision decision = judge(both, "domain_create", {domain("db1")});
        cr_assert_eq(decision.reason, Reason::denied_by_rule);
        cr_assert_eq(decision.grant->role, "z");
        cr_assert_eq(judge(both, "domain_create").reason, Reason::denied_by_rule, "it may be one of them");
    }
    // A deny on objects of another kind only is a deny on every domain.
    deny.objects = {glob(ObjectKind::network, "*")};
    cr_assert(!judge(rights({allow, deny}), "domain_create", {domain("web")}).allowed);
}

Test(rights, with_flags) {
    Grant all = grant("r", {"domain_get_xml_desc"}, {glob(ObjectKind::domain, "*")});
    all.conditions = {flags("domain_get_xml_desc", 9)};
    const Rights limited = rights({all});
    cr_assert(judge(limited, "domain_get_xml_desc", {domain("a")}, 2).allowed);
    cr_assert_eq(judge(limited, "domain_get_xml_desc", {domain("a")}, 3).reason, Reason::flag);
    Grant other = all;
    other.conditions = {flags("domain_get_xml_desc", 0, 1)};
    cr_assert(judge(rights({all, other}), "domain_get_xml_desc", {domain("a")}, 3).allowed);
    other.conditions.clear();
    other.denied_flags = {flags("domain_get_xml_desc", 1)};
    cr_assert_eq(judge(rights({all, other}), "domain_get_xml_desc", {domain("a")}, 1).reason,
                 Reason::denied_by_rule);
}

Test(rights, never_cross) {
    const Rights some =
        rights({grant("console", {"domain_open_console"}, {exact(ObjectKind::domain, "a")}),
                grant("power", {"domain_create"}, {exact(ObjectKind::domain, "b")}),
                grant("pool", {"storage_vol_lookup_by_name"}, {exact(ObjectKind::pool, "p")}),
                grant("vol", {"storage_vol_lookup_by_name"}, {glob(ObjectKind::volume, "*")})});
    cr_assert(judge(some, "domain_open_console", {domain("a")}).allowed);
    cr_assert(!judge(some, "domain_create", {domain("a")}).allowed);
    cr_assert(!judge(some, "domain_open_console", {domain("b")}).allowed);
    cr_assert(!judge(some, "storage_vol_lookup_by_name",
                     {{ObjectKind::pool, "p", {}}, {ObjectKind::volume, "p/v", {}}})
                   .allowed,
              "the pool of one and the volume of the other");
}

Test(rights, exceptions_win_in_their_grant_only) {
    Grant most = grant("most", {"domain_create"}, {glob(ObjectKind::domain, "*")});
    most.except = {exact(ObjectKind::domain, "db")};
    cr_assert(judge(rights({most}), "domain_create", {domain("web")}).allowed);
    cr_assert(!judge(rights({most}), "domain_create", {domain("db")}).allowed);
    cr_assert(!rights({most}).sees_all(ObjectKind::domain));
    const Grant one = grant("one", {"domain_create"}, {exact(ObjectKind::domain, "db")});
    cr_assert(judge(rights({most, one}), "domain_create", {domain("db")}).allowed);
    // Whether it is the excepted one cannot be known.
    most.except = {pattern(ObjectKind::domain, PatternKind::pattern_uuid, k_digits)};
    cr_assert(!judge(rights({most}), "domain_create", {domain("web")}).allowed);
    cr_assert(!judge(rights({most}), "domain_create", {domain("web", true)}).allowed);
    cr_assert(judge(rights({most}), "domain_create", {{ObjectKind::domain, "web", Uuid{}}}).allowed);
}

Test(rights, of_volumes_paths_and_places) {
    const Rights some = rights({grant("v", {"storage_vol_delete"}, {glob(ObjectKind::volume, "images/a*")}),
                                grant("p", {"domain_save", "domain_migrate_perform3"},
                                      {glob(ObjectKind::domain, "*"), exact(ObjectKind::path, "/srv/vm/"),
                                       exact(ObjectKind::migrate_uri, "tcp://10.20.30.0/24:49152-49215")})});
    const auto volume = [&](std::string_view name) {
        return judge(some, "storage_vol_delete", {{ObjectKind::volume, name, {}}}).allowed;
    };
    cr_assert(volume("images/a1"));
    cr_assert(!volume("images/b1"));
    cr_assert(!volume("images2/a"));
    cr_assert(!volume("images"));
    const auto path = [&](std::string_view name) {
        return judge(some, "domain_save", {domain("x"), {ObjectKind::path, name, {}}}).allowed;
    };
    cr_assert(path("/srv/vm/a"));
    cr_assert(path("/srv/vm"));
    cr_assert(!path("/srv/vmx"));
    cr_assert(!path("/srv/vm/../../etc/shadow"));
    cr_assert(!path("/srv/vm/.."));
    cr_assert(!path("/srv/vm//a"));
    cr_assert(!path("srv/vm/a"));
    cr_assert(!judge(some, "domain_save", {domain("x")}).allowed, "a path that nobody has looked at");
    const auto place = [&](std::string_view uri) {
        return judge(some, "domain_migrate_perform3", {domain("x"), {ObjectKind::migrate_uri, uri, {}}})
            .allowed;
    };
    cr_assert(place("tcp://10.20.30.9:49152"));
    cr_assert(place("tcp://10.20.30.9:49215/"));
    cr_assert(!place("tcp://10.20.30.9:49216"));
    cr_assert(!place("tcp://10.20.30.9"));
    cr_assert(!place("tcp://10.20.31.9:49152"));
    cr_assert(!place("tls://10.20.30.9:49152"));
    cr_assert(!place("tcp://10.20.30.9:49152@evil.example.org:49152"));
    cr_assert(!place("tcp:10.20.30.9:49152"));
}

Test(rights, of_uris) {
    cr_assert(matches_migrate_uri("tls://glob:kvm??.example.org", "tls://kvm07.example.org"));
    cr_assert(
        matches_migrate_uri("tls://glob:kvm??.example.org", "tls://user@kvm07.example.org:1234/system"));
    cr_assert(!matches_migrate_uri("tls://glob:kvm??.example.org", "tls://kvm07.example.org.evil"));
    cr_assert(!matches_migrate_uri("tls://glob:kvm??.example.org", "tls://evil/kvm07.example.org"));
    cr_assert(matches_migrate_uri("rdma://[2001:db8::]/64", "rdma://[2001:db8::7]:4711"));
    cr_assert(!matches_migrate_uri("rdma://[2001:db8::]/64", "rdma://[2001:db9::7]"));
    cr_assert(matches_migrate_uri("tcp://host:1-9", "tcp://host:5"));
    cr_assert(matches_migrate_uri("*", "unix:///run/x"));
    cr_assert(!matches_migrate_uri("unix://x", "unix:///run/x"));
    cr_assert_eq(flaw_of_migrate_uri("tls://glob:kvm*.example.org"), "");
    cr_assert_eq(flaw_of_migrate_uri("tcp://[2001:db8::]/64:1-2"), "");
    cr_assert_neq(flaw_of_migrate_uri("host"), "");
    cr_assert_neq(flaw_of_migrate_uri("tcp://10.0.0.1/8"), "");
    cr_assert_neq(flaw_of_migrate_uri("tcp://host:9-1"), "");
    cr_assert_neq(flaw_of_migrate_uri("tcp://host:70000"), "");
}

Test(rights, at_a_listener_and_a_time) {
    Grant limited = grant("r", {"domain_create"}, {glob(ObjectKind::domain, "*")});
    limited.listeners = {"tls"};
    cr_assert(judge(rights({limited}, {.listener = "tls"}), "domain_create", {domain("a")}).allowed);
    cr_assert(!judge(rights({limited}, {.listener = "unix"}), "domain_create", {domain("a")}).allowed);
    cr_assert(!judge(rights({limited}), "domain_create", {domain("a")}).allowed);
    Grant allow = grant("a", {"domain_create"}, {glob(ObjectKind::domain, "*")});
    set(limited.deny, "domain_create");
    cr_assert(judge(rights({allow, limited}, {.listener = "unix"}), "domain_create", {domain("a")}).allowed);
    cr_assert(!judge(rights({allow, limited}), "domain_create", {domain("a")}).allowed, "it may be that one");
    allow.not_before = 10;
    allow.not_after = 12;
    const Rights timed = rights({allow}, {.clock = test_clock});
    cr_assert_eq(need(timed, "domain_create"), Need::flags, "nothing but the time decides");
    for (random_now = 9; random_now < 14; ++random_now) {
        const Decision decision = judge(timed, "domain_create", {domain("a")});
        cr_assert_eq(decision.allowed, random_now >= 10 && random_now <= 12);
        cr_assert_eq(decision.reason, decision.allowed ? Reason::allowed : Reason::constraint);
        cr_assert_eq(timed.sees(domain("a")), decision.allowed);
    }
}

Test(rights, on_probation_change_nothing_and_show) {
    Grant shadow = grant("s", {"domain_create"}, {exact(ObjectKind::domain, "a")});
    shadow.shadow = true;
    const Rights alone = rights({shadow});
    cr_assert_eq(need(alone, "domain_create"), Need::objects);
    Decision decision = judge(alone, "domain_create", {domain("a")});
    cr_assert(!decision.allowed);
    cr_assert_eq(decision.shadow->role, "s");
    cr_assert_null(judge(alone, "domain_create", {domain("b")}).shadow);
    cr_assert(!alone.sees(domain("a")));
    Grant all = grant("r", {"domain_create"}, {});
    all.everything = true;
    shadow.may = {};
    set(shadow.deny, "domain_create");
    const Rights both = rights({all, shadow});
    decision = judge(both, "domain_create", {domain("a")});
    cr_assert(decision.allowed);
    cr_assert_eq(decision.shadow->role, "s");
}

Test(rights, hard_denied) {
    Grant all;
    all.everything = true;
    set(all.may, "connect_set_identity");
    set(all.may, "auth_polkit");
    const Rights free = rights({all});
    for (const std::string_view name : {"connect_set_identity", "auth_polkit"}) {
        cr_assert_eq(need(free, name), Need::refused);
        cr_assert_eq(judge(free, name).reason, Reason::hard_denied);
    }
}

Test(rights, of_events_redaction_audit_and_limits) {
    Grant watcher = grant("w", {"domain_event_callback_lifecycle", "connect_list_all_domains"},
                          {exact(ObjectKind::domain, "a")});
    watcher.redact = {"domain:read_secure"};
    watcher.audit = AuditLevel::audit_denied;
    Grant power = grant("p", {"domain_create"}, {exact(ObjectKind::domain, "b")});
    power.audit = AuditLevel::audit_all;
    IdentityRights all{.generation = 1, .identity = "i", .grants = {watcher, power}, .limits = {}};
    all.limits.burst = 9;
    const auto bytes = proto::encode(all);
    cr_assert(bytes.has_value());
    const auto decoded = Rights::decode(*bytes);
    cr_assert(decoded.has_value());
    const auto& remote = proto::remote_program();
    cr_assert(decoded->may_event(remote, call("domain_event_callback_lifecycle")));
    cr_assert(!decoded->may_event(remote, call("domain_event_callback_reboot")));
    cr_assert(decoded->redacts("domain:read_secure", domain("a")));
    cr_assert(!decoded->redacts("domain:read_secure", domain("b")));
    cr_assert(decoded->redacts("domain:read_secure"));
    cr_assert(!decoded->redacts("secret:read_secure"));
    cr_assert_eq(*decoded->limits().burst, 9);
    cr_assert_eq(decoded->audit_level(judge(*decoded, "domain_create", {domain("b")})),
                 AuditLevel::audit_all);
    cr_assert_eq(decoded->audit_level(judge(*decoded, "connect_list_all_domains")), AuditLevel::audit_denied);
    cr_assert_eq(decoded->audit_level(judge(*decoded, "domain_create", {domain("a")})), AuditLevel::audit_all,
                 "of a refusal: the most");
    cr_assert(!Rights::decode({}).has_value());
}
