// SPDX-License-Identifier: LGPL-2.1-or-later
// scrutiny - calls of a client that lies about objects, and replies that tell of others' objects.
#include "workerd/worker/scrutiny.h"

#include <criterion/criterion.h>

#include "libshared/xdr/writer.h"
#include "tests/support/random_payload.h"
#include "tests/unit/scrutiny_rig.h"
#include "workerd/worker/claims.h"
#include "workerd/worker/filter_objects.h"

using namespace virtgate;
using namespace virtgate::test;
using virtgate::test::set;

namespace {

// ---- payloads that name what they shall ----------------------------------------

bool is_asked_about(Shape shape) {
    return shape != Shape::volume && shape != Shape::interface && shape != Shape::nodedev &&
           shape != Shape::binding;
}

// An object as a client writes it. A secret has no other name than its usage.
ByteVector object_bytes(Shape shape, std::string_view name, const Uuid& which) {
    ByteVector bytes;
    xdr::Writer writer(bytes, 4096);
    if (shape == Shape::snapshot || shape == Shape::checkpoint) writer.string("part", 4096);
    if (shape == Shape::secret) {
        writer.fixed_opaque(which);
        writer.u32(1);
        writer.string(name, 4096);
        return bytes;
    }
    writer.string(name, 4096);
    writer.fixed_opaque(which);
    if (kind_of(shape) == ObjectKind::domain) writer.u32(7);
    if (shape == Shape::port) writer.fixed_opaque(k_nobody);
    return bytes;
}

// Random arguments that name the object in each place for one. Nothing if there is another object as well.
std::optional<ByteVector> make_args(const ProcedureInfo& info, std::string_view name, const Uuid& which,
                                    test::Random& random) {
    auto args = test::random_payload(program().schema, info.args, random);
    if (!args) return std::nullopt;
    for (const proto::ObjectPlace& place : info.objects) {
        const auto shape = shape_of(place.object);
        if (place.list || !is_asked_about(*shape)) return std::nullopt;
        const proto::Found found = locate(program().schema, info.args, *args, place.steps, {});
        if (!found.present) return std::nullopt;
        const std::uint32_t end = end_of(program().schema, found.type, *args, found.offset);
        const ByteVector object = object_bytes(*shape, name, which);
        args->erase(args->begin() + found.offset, args->begin() + end);
        args->insert(args->begin() + found.offset, object.begin(), object.end());
    }
    const auto verdict = validate(program().schema, info.args, *args, proto::Extent::whole);
    cr_assert_eq(verdict.flaw, proto::Flaw::none, "%s", std::string(info.name).c_str());
    return args;
}

}  // namespace

// ---- the lying client ----------------------------------------

Test(scrutiny, believes_no_name_and_no_uuid) {
    test::Random random(42);
    unsigned tried = 0, passed = 0;
    for (const ProcedureInfo& info : program().procedures()) {
        if (info.kind != ProcedureInfo::Kind::call || info.objects.empty()) continue;
        const std::string text(info.name);
        // A place for an object of a registration may stay empty, and is no reason to refuse it.
        if (info.objects.front().nullable || info.objects.front().list) continue;
        const auto shape = shape_of(info.objects.front().object);
        const bool on_seen =
            std::find(std::begin(k_on_seen), std::end(k_on_seen), info.name) != std::end(k_on_seen);
        for (unsigned round = 0; round < 5; ++round) {
            Rig rig;
            const auto args = [&](std::string_view name, const Uuid& which) {
                test::Random same(random());
                return make_args(info, name, which, same);
            };
            const auto honest = args("mine", k_mine);
            if (!honest) continue;
            ++tried;
            const Ruling good = rig.call(info.name, *honest);
            const bool more = !passes(good);
            // Calls that are about more than their objects: files, places, XML.
            if (more) cr_assert(is_denied(good), "%s: %s", text.c_str(), good.log.c_str());
            passed += more ? 0 : 1;
            for (const Uuid& which : {k_theirs, k_nobody}) {
                const auto lie = args("mine", which);
                if (!lie) continue;
                Rig other;
                const Ruling ruling = other.call(info.name, *lie);
                cr_assert_eq(ruling.kind, Ruling::Kind::refuse, "%s", text.c_str());
                const Claims claims = read_claims(program(), info, *lie, Driver::qemu);
                cr_assert(ruling.error == not_there(Driver::qemu, claims.list.front(), true), "%s: %s",
                          text.c_str(), ruling.error.message->c_str());
                cr_assert(ruling.error.code != 88);
            }
            if (const auto named = args("theirs", k_mine); named && !more && info.name != "domain_rename")
                cr_assert(passes(Rig().call(info.name, *named)), "%s acts on what has the uuid",
                          text.c_str());
            if (const auto seen = args("mine", k_seen)) {
                const Ruling ruling = Rig().call(info.name, *seen);
                cr_assert(on_seen ? passes(ruling) : is_denied(ruling), "%s: %s", text.c_str(),
                          ruling.log.c_str());
            }
            cr_assert(shape.has_value());
        }
    }
    cr_assert_gt(tried, 1000);
    cr_assert_gt(passed, tried * 3 / 4);
}

Test(scrutiny, goes_by_names_where_libvirt_does) {
    const auto undefine = [](std::string_view pool, std::string_view volume) {
        return encode(remote::StorageVolDeleteArgs{{std::string(pool), std::string(volume), "key"}, 0});
    };
    Rig rig;
    cr_assert(passes(rig.call("storage_vol_delete", undefine("mine", "v"))));
    const Ruling hidden = rig.call("storage_vol_delete", undefine("theirs", "v"));
    cr_assert_eq(hidden.error.code, 49, "its pool is hidden");
    cr_assert_eq(rig.call("storage_vol_delete", undefine("mine/v", "w")).error.code, 49,
                 "no pool has a slash");
    cr_assert(passes(rig.call("node_device_get_parent", encode(remote::NodeDeviceGetParentArgs{"mine"}))));
    const ByteVector device = encode(remote::NodeDeviceGetParentArgs{"theirs"});
    cr_assert_eq(rig.call("node_device_get_parent", device, 2).error.code, 53);
    cr_assert(
        passes(rig.call("interface_undefine", encode(remote::InterfaceUndefineArgs{{"mine", "theirs"}}))));
    cr_assert_eq(
        rig.call("interface_undefine", encode(remote::InterfaceUndefineArgs{{"theirs", "mine"}})).error.code,
        57);
    cr_assert_eq(rig.questions, 0);
}

Test(scrutiny, asks_for_the_filter_of_a_binding) {
    Rig rig;
    const auto get = [](std::string port, std::string filter) {
        return encode(remote::NwfilterBindingGetXmlDescArgs{{std::move(port), std::move(filter)}, 0});
    };
    cr_assert(passes(rig.call("nwfilter_binding_get_xml_desc", get("port-mine", "theirs"))));
    const Ruling hidden = rig.call("nwfilter_binding_get_xml_desc", get("port-theirs", "mine"));
    cr_assert_eq(hidden.error.code, 101);
    cr_assert_eq(hidden.error.str2, "no nwfilter binding for port dev 'port-theirs'");
    cr_assert_eq(rig.call("nwfilter_binding_get_xml_desc", get("none", "mine")).error.code, 101);
    cr_assert_eq(rig.questions, 3);
}

Test(scrutiny, of_the_test_driver_goes_by_names_of_networks) {
    Rig rig;
    rig.scrutiny.set_driver(Driver::test);
    cr_assert(passes(rig.call("network_destroy", encode(remote::NetworkDestroyArgs{{"mine", k_theirs}}))));
    const Ruling hidden = rig.call("network_destroy", encode(remote::NetworkDestroyArgs{{"theirs", k_mine}}));
    cr_assert_eq(hidden.error.code, 43);
    cr_assert_eq(hidden.error.domain, 12);
}

Test(scrutiny, judges_calls_of_other_programs) {
    const proto::ProgramInfo& lxc = proto::lxc_program();
    Grant grant = on(grant_of({}), "mine");
    grant.may.programs.push_back({lxc.number, lxc.version, ByteVector(1, std::byte{2})});
    Rig rig(rights({grant}));
    const rpc::Header header{lxc.number, lxc.version, 1, rpc::Type::call, 1, rpc::Status::ok};
    for (const Uuid& which : {k_mine, k_theirs}) {
        ByteVector args = object_bytes(Shape::domain, "mine", which);
        args.resize(args.size() + 4);
        const Ruling asks = rig.scrutiny.on_call(header, lxc, *lxc.find(1U), args, rig.is_used);
        const Outcome outcome = rig.answer(asks);
        cr_assert(outcome.held == header);
        cr_assert_eq(passes(outcome.ruling), which == k_mine);
    }
}

Test(scrutiny, needs_all_that_a_call_names) {
    Rig rig;
    const auto rename = [](std::string_view from, const char* to) {
        return encode(remote::DomainRenameArgs{domain(from), to, 0});
    };
    cr_assert(is_denied(rig.call("domain_rename", rename("mine", "theirs"))));
    cr_assert(is_denied(rig.call("domain_rename", rename("mine", "new"))));
    Grant wide = grant_all_calls();
    add(wide, ObjectKind::domain, "m*");
    Rig other(rights({wide}));
    cr_assert(passes(other.call("domain_rename", rename("mine", "my"))));
    cr_assert(is_denied(other.call("domain_rename", rename("mine", "theirs"))));
    // A file of the host, and a place to migrate to.
    const auto dump = [](std::string to) {
        return encode(remote::DomainCoreDumpArgs{domain("mine"), to, 0});
    };
    cr_assert(passes(rig.call("domain_core_dump", dump("/srv/x"))));
    cr_assert(is_denied(rig.call("domain_core_dump", dump("/etc/shadow"))));
    cr_assert(is_denied(rig.call("domain_core_dump", dump("/srv/../etc/shadow"))));
    const auto migrate = [](std::optional<std::string> uri, std::optional<std::string> parameter) {
        remote::DomainMigratePerform3ParamsArgs args;
        args.domain = domain("mine");
        args.connection_uri = uri;
        if (parameter) args.params.push_back({"migrate_uri", remote::TypedParamValue::make_text(*parameter)});
        return encode(args);
    };
    const std::string_view name = "domain_migrate_perform3_params";
    cr_assert(passes(rig.call(name, migrate("tcp://10.1.1.1:49152", std::nullopt))));
    cr_assert(passes(rig.call(name, migrate(std::nullopt, "tcp://10.1.1.1"))));
    cr_assert(is_denied(rig.call(name, migrate("tcp://10.1.1.1", "tcp://8.8.8.8"))));
    cr_assert(is_denied(rig.call(name, migrate("tcp://8.8.8.8", "tcp://10.1.1.1"))));
    cr_assert(is_denied(rig.call(name, migrate(std::nullopt, std::nullopt))), "to nobody knows where");
}

Test(scrutiny, allows_what_it_cannot_read_to_who_may_all_of_that_kind) {
    Rig rig;
    const ByteVector xml = encode(remote::DomainDefineXmlArgs{"<domain><name>mine</name></domain>"});
    const ByteVector volume = encode(remote::StorageVolCreateXmlArgs{{"mine", k_mine}, "<volume/>", 0});
    const ByteVector elsewhere = encode(remote::StorageVolCreateXmlArgs{{"mine", k_theirs}, "<volume/>", 0});
    const auto restore = [](const char* from) { return encode(remote::DomainRestoreArgs{from}); };
    remote::DomainMigratePrepare3ParamsArgs prepare;
    const auto prepare_at = [&](const char* uri) {
        prepare.params = {{"destination_name", remote::TypedParamValue::make_text("mine")},
                          {"migrate_uri", remote::TypedParamValue::make_text(uri)}};
        return encode(prepare);
    };
    cr_assert(is_denied(rig.call("domain_define_xml", xml)));
    cr_assert(is_denied(rig.call("domain_restore", restore("/srv/x"))));
    cr_assert(is_denied(rig.call("domain_migrate_prepare3_params", prepare_at("tcp://10.1.1.1"))));
    cr_assert(is_denied(rig.call("storage_vol_create_xml", volume)));
    cr_assert_eq(rig.call("storage_vol_create_xml", elsewhere).error.code, 49);
    Grant wide = grant_all_calls();
    add(wide, ObjectKind::domain, "*");
    add(wide, ObjectKind::volume, "*");
    add(wide, ObjectKind::pool, "mine");
    add(wide, ObjectKind::path, "/srv");
    add(wide, ObjectKind::migrate_uri, "tcp://10.0.0.0/8");
    Rig other(rights({on(grant_all_calls(), "mine"), wide}));
    cr_assert(passes(other.call("domain_define_xml", xml)));
    cr_assert(passes(other.call("domain_restore", restore("/srv/x"))));
    cr_assert(is_denied(other.call("domain_restore", restore("/etc/x"))));
    cr_assert(passes(other.call("domain_migrate_prepare3_params", prepare_at("tcp://10.1.1.1"))));
    cr_assert(is_denied(other.call("domain_migrate_prepare3_params", prepare_at("tcp://8.8.8.8"))));
    cr_assert(passes(other.call("storage_vol_create_xml", volume)));
    cr_assert_eq(other.call("storage_vol_create_xml", elsewhere).error.code, 49);
    // It may be the one that somebody denies.
    Grant deny;
    set(deny.deny, procedure("domain_restore"));
    add(deny, ObjectKind::domain, "db");
    add(deny, ObjectKind::path, "/srv/db");
    Rig denied(rights({wide, deny}));
    cr_assert(is_denied(denied.call("domain_restore", restore("/srv/x"))));
}

Test(scrutiny, judges_flags) {
    Grant grant = on(grant_all_calls(), "mine");
    grant.conditions.push_back(
        {program().number, program().version, procedure("domain_get_xml_desc").number, 1, 0});
    grant.denied_flags.push_back(
        {program().number, program().version, procedure("domain_shutdown_flags").number, 2, 0});
    Rig rig(rights({grant}));
    const auto xml = [](std::uint32_t flags) {
        return encode(remote::DomainGetXmlDescArgs{domain("mine"), flags});
    };
    const auto stop = [](std::uint32_t flags) {
        return encode(remote::DomainShutdownFlagsArgs{domain("mine"), flags});
    };
    cr_assert(passes(rig.call("domain_get_xml_desc", xml(2))));
    cr_assert(is_denied(rig.call("domain_get_xml_desc", xml(3))));
    cr_assert(passes(rig.call("domain_shutdown_flags", stop(1))));
    const Ruling denied = rig.call("domain_shutdown_flags", stop(2));
    cr_assert(is_denied(denied));
    cr_assert_eq(*denied.error.message, "access denied: role \"r\" denies domain_shutdown_flags");
    cr_assert_eq(denied.log, "domain_shutdown_flags: deny-rule, role r at f.toml:3");
    Grant everything = grant_all_calls();
    everything.everything = true;
    everything.denied_flags = grant.denied_flags;
    Rig wide(rights({everything}));
    cr_assert(passes(wide.call("domain_shutdown_flags", stop(1))));
    cr_assert(is_denied(wide.call("domain_shutdown_flags", stop(2))));
    cr_assert_eq(wide.questions, 0, "flags are enough");
}

// ---- the daemon's answers ----------------------------------------

Test(scrutiny, passes_on_why_the_daemon_does_not_know) {
    Rig rig;
    const Ruling asks = rig.start("network_destroy", encode(remote::NetworkDestroyArgs{{"mine", k_mine}}));
    rpc::Header asked = rpc::read_header(asks.frame.data());
    ByteVector no = rpc::make_error_payload(3, "this function is not supported", 7);
    const Outcome outcome = rig.reply(asked, no, rpc::Status::error);
    cr_assert_eq(outcome.kind, Outcome::Kind::resume);
    cr_assert_eq(outcome.ruling.kind, Ruling::Kind::refuse);
    cr_assert_eq(outcome.ruling.error.code, 3);
    cr_assert(!rig.scrutiny.is_asking());
}

Test(scrutiny, believes_no_answer_about_something_else) {
    for (const ByteVector& wrong :
         {encode(remote::DomainLookupByUuidRet{domain("mine", k_theirs)}), ByteVector(8), ByteVector{}}) {
        Rig rig;
        const Ruling asks = rig.start("domain_create", encode(remote::DomainCreateArgs{domain("mine")}));
        const Outcome outcome = rig.reply(rpc::read_header(asks.frame.data()), wrong);
        cr_assert_eq(outcome.kind, Outcome::Kind::resume);
        cr_assert_eq(outcome.ruling.kind, Ruling::Kind::refuse);
        cr_assert_eq(outcome.ruling.error.code, 1);
    }
}

Test(scrutiny, judges_by_the_rights_of_the_beginning) {
    Rig rig;
    const ByteVector args = encode(remote::DomainCreateArgs{domain("mine")});
    const Ruling asks = rig.start("domain_create", args);
    rig.scrutiny.set_rights(rights({}));
    cr_assert(passes(rig.answer(asks).ruling));
    cr_assert(is_denied(rig.call("domain_create", args)));
    // And a list as well.
    rig.scrutiny.set_rights(usual_rights());
    const ByteVector list = encode(remote::ConnectListAllDomainsArgs{1, 0});
    cr_assert(passes(rig.call("connect_list_all_domains", list)));
    rig.scrutiny.set_rights(rights({}));
    const Outcome outcome =
        rig.reply(rig.header("connect_list_all_domains"),
                  encode(remote::ConnectListAllDomainsRet{{domain("theirs"), domain("mine")}, 2}));
    const auto ret = value_of<remote::ConnectListAllDomainsRet>(outcome);
    cr_assert_eq(ret.domains.size(), 1);
    cr_assert_eq(ret.domains[0].name, "mine");
    cr_assert_eq(ret.result, 1);
}

Test(scrutiny, filters_lists_whatever_the_order_of_replies) {
    Rig rig;
    const rpc::Header all = rig.header("connect_list_all_domains", 4);
    cr_assert(
        passes(rig.call("connect_list_all_domains", encode(remote::ConnectListAllDomainsArgs{1, 0}), 4)));
    const Ruling count = rig.call("connect_num_of_domains", {}, 5);
    cr_assert(passes(count));
    const rpc::Header asked = rpc::read_header(count.frame.data());
    cr_assert_eq(asked.procedure, procedure("connect_list_all_domains").number);
    cr_assert_eq(asked.serial, 5);
    const ByteVector list =
        encode(remote::ConnectListAllDomainsRet{{domain("theirs"), domain("mine"), domain("seen")}, 3});
    const Outcome second = rig.reply(asked, list);
    const rpc::Header header = rpc::read_header(second.frame.data());
    cr_assert_eq(header.procedure, procedure("connect_num_of_domains").number);
    cr_assert_eq(header.serial, 5);
    cr_assert_eq(value_of<remote::ConnectNumOfDomainsRet>(second).count, 2);
    cr_assert_eq(value_of<remote::ConnectListAllDomainsRet>(rig.reply(all, list)).result, 2);
    cr_assert(!rig.scrutiny.wants(rpc::reply_to(all)));
    // An error goes to the call that the client has made.
    const rpc::Header again = rpc::read_header(rig.call("connect_num_of_domains", {}, 6).frame.data());
    const Outcome failed = rig.reply(again, rpc::make_error_payload(1, "no"), rpc::Status::error);
    cr_assert_eq(rpc::read_header(failed.frame.data()).procedure, procedure("connect_num_of_domains").number);
    cr_assert_eq(error_of(failed).code, 1);
    // Statistics are more than a name: that of "seen" is known, but only its state may be asked for.
    cr_assert(
        passes(rig.call("connect_get_all_domain_stats",
                        encode(remote::ConnectGetAllDomainStatsArgs{{domain("mine", k_theirs)}, 0, 0}), 7)));
    const Outcome stats =
        rig.reply(rig.header("connect_get_all_domain_stats", 7),
                  encode(remote::ConnectGetAllDomainStatsRet{
                      {{domain("theirs"), {}}, {domain("seen"), {}}, {domain("mine"), {}}}}));
    const auto records = value_of<remote::ConnectGetAllDomainStatsRet>(stats).records;
    cr_assert_eq(records.size(), 1);
    cr_assert_eq(records[0].domain.name, "mine");
}

Test(scrutiny, judges_look_ups_by_what_they_find) {
    Rig rig;
    const auto find = [&](const char* name) {
        const Ruling ruling = rig.call("domain_lookup_by_name", encode(remote::DomainLookupByNameArgs{name}));
        cr_assert(passes(ruling) && ruling.frame.empty());
        return rig.reply(rig.header("domain_lookup_by_name"),
                         encode(remote::DomainLookupByNameRet{domain(name)}));
    };
    cr_assert_eq(value_of<remote::DomainLookupByNameRet>(find("mine")).domain.name, "mine");
    cr_assert_eq(error_of(find("theirs")).code, 42);
    cr_assert_eq(error_of(find("theirs")).str2, "no domain with matching name 'theirs'");
    cr_assert_eq(error_of(find("seen")).code, 88);
}

Test(scrutiny, filters_volumes_by_the_pool_that_is_asked) {
    Grant grant = grant_all_calls();
    add(grant, ObjectKind::pool, "*");
    add(grant, ObjectKind::volume, "mine/*");
    Rig rig(rights({grant}));
    const auto list = [&](const char* name, const Uuid& which) {
        const ByteVector args = encode(remote::StoragePoolListVolumesArgs{{name, which}, 10});
        const Ruling ruling = rig.call("storage_pool_list_volumes", args);
        cr_assert(passes(ruling));
        // libvirt repeats the name that the client has used.
        const Outcome outcome =
            rig.reply(rpc::read_header(ruling.frame.data()),
                      encode(remote::StoragePoolListAllVolumesRet{{{name, "v", "k"}}, 1}));
        return value_of<remote::StoragePoolListVolumesRet>(outcome).names.size();
    };
    cr_assert_eq(list("mine", k_mine), 1);
    cr_assert_eq(list("mine", k_theirs), 0);
    cr_assert_eq(list("theirs", k_mine), 1);
}

Test(scrutiny, drops_events_about_what_is_hidden) {
    Rig rig;
    const auto lifecycle = [](const char* name) {
        return encode(remote::DomainEventCallbackLifecycleMsg{3, {domain(name), 1, 0}});
    };
    const ByteVector mine = lifecycle("mine");
    const Outcome outcome = rig.event("domain_event_callback_lifecycle", mine);
    cr_assert(std::equal(mine.begin(), mine.end(), payload_of(outcome).begin(), payload_of(outcome).end()));
    cr_assert_eq(rpc::read_header(outcome.frame.data()).type, rpc::Type::message);
    cr_assert_eq(rig.event("domain_event_callback_lifecycle", lifecycle("theirs")).kind, Outcome::Kind::drop);
    cr_assert_eq(rig.event("domain_event_callback_lifecycle", ByteVector(8)).kind, Outcome::Kind::drop);
    Grant open = grant_of({"domain_event_callback_lifecycle", "domain_get_state"});
    add(open, ObjectKind::domain, "*");
    Rig other(rights({open}));
    cr_assert_eq(other.event("domain_event_callback_lifecycle", lifecycle("theirs"), false).kind,
                 Outcome::Kind::forward);
    cr_assert_eq(other
                     .event("network_event_lifecycle",
                            encode(remote::NetworkEventLifecycleMsg{1, {"mine", k_mine}, 0, 0}))
                     .kind,
                 Outcome::Kind::drop, "no role tells of networks");
}

Test(scrutiny, redacts) {
    Grant mine = on(grant_all_calls(), "*");
    Grant redact = grant_of({});
    add(redact, ObjectKind::domain, "mine");
    add(redact, ObjectKind::secret, "mine");
    redact.redact = {"domain:read_secure", "secret:read_secure"};
    Rig rig(rights({mine, redact}));
    const std::string xml = "<domain><devices><graphics type='vnc' passwd='s3cret'/></devices></domain>";
    const ByteVector ret = encode(remote::DomainGetXmlDescRet{xml});
    const auto get = [&](std::string_view name, const Uuid& which) {
        return rig.call("domain_get_xml_desc", encode(remote::DomainGetXmlDescArgs{domain(name, which), 1}));
    };
    cr_assert(passes(get("theirs", k_mine)), "whatever it is called");
    const auto shown =
        value_of<remote::DomainGetXmlDescRet>(rig.reply(rig.header("domain_get_xml_desc"), ret));
    cr_assert(shown.xml.find("s3cret") == std::string::npos &&
              shown.xml.find("graphics") != std::string::npos);
    cr_assert(passes(get("mine", k_theirs)));
    cr_assert(!rig.scrutiny.wants(rpc::reply_to(rig.header("domain_get_xml_desc"))), "goes on as it is");
    cr_assert(
        is_denied(rig.call("secret_get_value", encode(remote::SecretGetValueArgs{{k_mine, 1, "x"}, 0}))));
    cr_assert(
        passes(rig.call("secret_get_value", encode(remote::SecretGetValueArgs{{k_theirs, 1, "mine"}, 0}))));
    // What is not XML is not shown.
    cr_assert(passes(get("mine", k_mine)));
    const Outcome broken =
        rig.reply(rig.header("domain_get_xml_desc"), encode(remote::DomainGetXmlDescRet{"<a>"}));
    cr_assert_eq(error_of(broken).code, 1);
}

// ---- serials ----------------------------------------

Test(scrutiny, keeps_calls_of_one_serial_apart) {
    Rig rig;
    const ByteVector list = encode(remote::ConnectListAllDomainsArgs{1, 0});
    cr_assert(passes(rig.call("connect_num_of_domains", {}, 5)));
    const Ruling same = rig.call("connect_list_all_domains", list, 5);
    cr_assert_eq(same.kind, Ruling::Kind::refuse);
    cr_assert_eq(same.error.code, rpc::k_code_rpc);
    cr_assert_eq(rig.call("connect_num_of_domains", {}, 5).kind, Ruling::Kind::refuse);
    cr_assert(passes(rig.call("connect_list_all_domains", list, 6)));
    rig.open.insert({procedure("connect_list_all_domains").number, 8});
    cr_assert_eq(rig.call("connect_num_of_defined_domains", {}, 8).kind, Ruling::Kind::refuse);
    // Our own questions find another one.
    const ByteVector args = encode(remote::DomainCreateArgs{domain("mine")});
    const std::uint32_t first = rpc::read_header(rig.start("domain_create", args, 9).frame.data()).serial;
    rig.scrutiny.forget_all();
    cr_assert(!rig.scrutiny.is_asking());
    for (std::uint32_t next = 1; next < 4; ++next)
        rig.open.insert({procedure("domain_lookup_by_uuid").number, first + next});
    const Ruling asks = rig.start("domain_create", args, 9);
    cr_assert_eq(rpc::read_header(asks.frame.data()).serial, first + 4);
    cr_assert(passes(rig.answer(asks).ruling));
    cr_assert(!rig.scrutiny.wants(rpc::reply_to(rig.header("connect_list_all_domains", 5))), "forgotten");
}

Test(scrutiny, holds_a_bounded_number_of_replies) {
    Rig rig;
    for (std::uint32_t serial = 0; serial < 1024; ++serial)
        cr_assert(passes(rig.call("connect_num_of_domains", {}, serial)));
    const Ruling full = rig.call("connect_num_of_domains", {}, 5000);
    cr_assert_eq(full.kind, Ruling::Kind::refuse);
    cr_assert_eq(full.error.code, rpc::k_code_resource_busy);
}

// ---- nothing to do ----------------------------------------

Test(scrutiny, is_idle_for_who_may_everything) {
    Grant all;
    all.everything = true;
    for (const proto::ProgramInfo* each :
         {&proto::remote_program(), &proto::qemu_program(), &proto::lxc_program()}) {
        all.may.programs.push_back({each->number, each->version, ByteVector(64, std::byte{0xff})});
    }
    Scrutiny scrutiny(rights({all}));
    cr_assert(scrutiny.is_idle());
    cr_assert(!scrutiny.reaches(program(), procedure("connect_set_identity")));
    cr_assert(scrutiny.reaches(program(), procedure("domain_create")));
    scrutiny.set_rights(usual_rights());
    cr_assert(!scrutiny.is_idle());
    Grant redacting = all;
    redacting.redact = {"domain:read_secure"};
    scrutiny.set_rights(rights({redacting}));
    cr_assert(!scrutiny.is_idle());
    // A role on everything does not widen another one's statistics.
    Grant wide = all;
    const std::uint32_t stats = procedure("connect_get_all_domain_stats").number;
    wide.may.programs[0].procedures[stats / 8] &= ~(std::byte{1} << (stats % 8));
    scrutiny.set_rights(rights({wide, on(grant_of({"connect_get_all_domain_stats"}), "mine")}));
    cr_assert(!scrutiny.is_idle());
    Rig rig(rights({}));
    cr_assert(!rig.scrutiny.reaches(program(), procedure("domain_create")));
    cr_assert(is_denied(rig.call("connect_get_version", {})));
}
