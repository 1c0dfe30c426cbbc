// SPDX-License-Identifier: LGPL-2.1-or-later
// filter - lists, counts and look-ups without what is hidden, compared with decode, erase and encode.
#include "workerd/worker/filter.h"

#include <criterion/criterion.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "libshared/xdr/writer.h"
#include "proto/codec.h"
#include "proto/programs.h"
#include "proto/prune.h"
#include "proto/remote.h"
#include "tests/support/random_payload.h"

using namespace virtgate;
using namespace virtgate::workerd::worker;
namespace remote = virtgate::proto::remote;
using policy::Object;
using policy::ObjectKind;
using policy::Uuid;
using proto::ProcedureInfo;

namespace {

// An object that owns its name.
struct Item {
    ObjectKind kind;
    std::string name;
    std::optional<Uuid> uuid;
    std::string own_name;
    std::int32_t id = 0;
};

Item item_of(const remote::Domain& v) { return {ObjectKind::domain, v.name, v.uuid, v.name, v.id}; }
Item item_of(const remote::Network& v) { return {ObjectKind::network, v.name, v.uuid, v.name}; }
Item item_of(const remote::StoragePool& v) { return {ObjectKind::pool, v.name, v.uuid, v.name}; }
Item item_of(const remote::Nwfilter& v) { return {ObjectKind::nwfilter, v.name, v.uuid, v.name}; }
Item item_of(const remote::NodeDevice& v) { return {ObjectKind::nodedev, v.name, {}, v.name}; }
Item item_of(const remote::Interface& v) { return {ObjectKind::interface, v.name, {}, v.name}; }
Item item_of(const remote::Secret& v) { return {ObjectKind::secret, v.usage_id, v.uuid, v.usage_id}; }
Item item_of(const remote::StorageVol& v) { return {ObjectKind::volume, v.pool + "/" + v.name, {}, v.name}; }
Item item_of(const remote::NwfilterBinding& v) {
    return {ObjectKind::nwfilter, v.filter_name, {}, v.filter_name};
}
Item item_of(const remote::DomainStatsRecord& v) { return item_of(v.domain); }

// An element of a list of names is an object of the list's kind.
template <ObjectKind Kind>
Item item_in(const std::string& name) {
    return {Kind, name, {}, name};
}
template <ObjectKind Kind>
Item item_in(const auto& element) {
    return item_of(element);
}

// The uuid of the filter of that name, for bindings.
Uuid uuid_of(std::string_view name) {
    Uuid uuid{};
    for (std::size_t i = 0; i < name.size(); ++i) uuid[i % 16] ^= static_cast<std::byte>(name[i]);
    return uuid;
}

// Sees what a random function of everything that is known of an object says; `share` of 8.
class RandomSight final : public Sight {
public:
    RandomSight(std::uint64_t seed, unsigned share) : seed_(seed), share_(share) {}
    bool sees_all(ObjectKind) const noexcept override { return false; }
    bool sees(const Object& object) const noexcept override {
        std::uint64_t sum = seed_ ^ (static_cast<std::uint64_t>(object.kind) << 7);
        for (const char c : object.name) sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001b3;
        sum = (sum ^ (object.uuid ? 1U : 0U)) * 0x100000001b3;
        if (object.uuid)
            for (const std::byte b : *object.uuid) sum = (sum ^ std::to_integer<unsigned>(b)) * 0x100000001b3;
        return (sum >> 20) % 8 < share_;
    }
    std::optional<Uuid> nwfilter_uuid(std::string_view name) const noexcept override { return uuid_of(name); }

    bool sees(Item item, std::string_view pool = {}) const {
        if (item.kind == ObjectKind::volume && !pool.empty())
            item.name = std::string(pool) + "/" + item.own_name;
        if (item.kind == ObjectKind::nwfilter && !item.uuid) item.uuid = uuid_of(item.name);
        return sees(Object{item.kind, item.name, item.uuid});
    }

private:
    std::uint64_t seed_;
    unsigned share_;
};

// What the generated types say about a list reply.
struct Oracle {
    std::function<ByteVector(ByteView, const RandomSight&, std::string_view)> erase;  // decode, erase, encode
    std::function<std::vector<Item>(ByteView)> items;
};

template <class Ret, auto Member, ObjectKind Kind = ObjectKind::domain>
Oracle oracle() {
    return {[](ByteView payload, const RandomSight& sight, std::string_view pool) {
                Ret ret = proto::decode<Ret>(payload).value();
                std::erase_if(ret.*Member,
                              [&](const auto& element) { return !sight.sees(item_in<Kind>(element), pool); });
                if constexpr (requires { ret.result; })
                    ret.result = static_cast<decltype(ret.result)>((ret.*Member).size());
                return proto::encode(ret).value();
            },
            [](ByteView payload) {
                std::vector<Item> items;
                const Ret ret = proto::decode<Ret>(payload).value();
                for (const auto& element : ret.*Member) items.push_back(item_in<Kind>(element));
                return items;
            }};
}

const std::map<std::string_view, Oracle>& oracles() {
    static const std::map<std::string_view, Oracle> k_oracles = {
        {"connect_list_all_domains",
         oracle<remote::ConnectListAllDomainsRet, &remote::ConnectListAllDomainsRet::domains>()},
        {"connect_list_all_networks",
         oracle<remote::ConnectListAllNetworksRet, &remote::ConnectListAllNetworksRet::networks>()},
        {"connect_list_all_storage_pools",
         oracle<remote::ConnectListAllStoragePoolsRet, &remote::ConnectListAllStoragePoolsRet::pools>()},
        {"storage_pool_list_all_volumes",
         oracle<remote::StoragePoolListAllVolumesRet, &remote::StoragePoolListAllVolumesRet::volumes>()},
        {"connect_list_all_interfaces",
         oracle<remote::ConnectListAllInterfacesRet, &remote::ConnectListAllInterfacesRet::interfaces>()},
        {"connect_list_all_node_devices",
         oracle<remote::ConnectListAllNodeDevicesRet, &remote::ConnectListAllNodeDevicesRet::devices>()},
        {"connect_list_all_nwfilters",
         oracle<remote::ConnectListAllNwfiltersRet, &remote::ConnectListAllNwfiltersRet::filters>()},
        {"connect_list_all_nwfilter_bindings",
         oracle<remote::ConnectListAllNwfilterBindingsRet,
                &remote::ConnectListAllNwfilterBindingsRet::bindings>()},
        {"connect_list_all_secrets",
         oracle<remote::ConnectListAllSecretsRet, &remote::ConnectListAllSecretsRet::secrets>()},
        {"connect_get_all_domain_stats",
         oracle<remote::ConnectGetAllDomainStatsRet, &remote::ConnectGetAllDomainStatsRet::records>()},
        {"node_list_devices",
         oracle<remote::NodeListDevicesRet, &remote::NodeListDevicesRet::names, ObjectKind::nodedev>()},
        {"connect_list_interfaces",
         oracle<remote::ConnectListInterfacesRet, &remote::ConnectListInterfacesRet::names,
                ObjectKind::interface>()},
        {"connect_list_defined_interfaces",
         oracle<remote::ConnectListDefinedInterfacesRet, &remote::ConnectListDefinedInterfacesRet::names,
                ObjectKind::interface>()},
    };
    return k_oracles;
}

const proto::ProgramInfo& program() { return proto::remote_program(); }
const proto::Schema& schema() { return program().schema; }
const ReplyRules& rules() {
    static const ReplyRules k_rules(program());
    return k_rules;
}

const ProcedureInfo& call(std::string_view name) {
    const ProcedureInfo* info = program().find(name);
    cr_assert_not_null(info, "%s", std::string(name).c_str());
    return *info;
}

// Valid, and already in the form that the encoder would write.
void expect_canonical(const ProcedureInfo& info, ByteView payload) {
    ByteVector copy(payload.begin(), payload.end());
    const proto::Verdict verdict = validate(schema(), info.ret, copy, proto::Extent::whole);
    cr_assert_eq(verdict.flaw, proto::Flaw::none, "%s: %s", info.name.data(), to_hex(payload).c_str());
    cr_assert(!verdict.rewritten, "%s", info.name.data());
}

ByteVector random_reply(const ProcedureInfo& info, test::Random& random) {
    auto payload = test::random_payload(schema(), info.ret, random);
    cr_assert(payload.has_value());
    return std::move(*payload);
}

// Arguments with the word at the end of field `field` set to `value`.
ByteVector args_with(const ProcedureInfo& info, test::Random& random, std::uint32_t field,
                     std::uint32_t value) {
    if (info.args == proto::k_void) return {};
    ByteVector args = test::random_payload(schema(), info.args, random).value();
    if (field == proto::layout::k_none) return args;
    const std::uint32_t step[] = {field};
    store_be32(args.data() + locate(schema(), info.args, args, step, {}).offset, value);
    return args;
}

constexpr std::string_view k_pool = "the pool";
const Object k_called[] = {{ObjectKind::pool, k_pool, Uuid{}}};

std::span<const Object> called_by(const ProcedureInfo& info) {
    return info.name.find("vol") != std::string_view::npos ? std::span(k_called) : std::span<const Object>();
}

ReplyFilter filter_of(const ProcedureInfo& info, ByteView args, const Sight& sight,
                      Driver driver = Driver::qemu) {
    auto filter = ReplyFilter::make(rules(), info, args, called_by(info), driver, sight);
    cr_assert(filter.has_value(), "%s", info.name.data());
    return std::move(*filter);
}

}  // namespace

Test(filter, prunes_lists_as_the_generated_types_do, .timeout = 60) {
    test::Random random(11);
    int lists = 0, removed = 0;
    for (const ProcedureInfo& info : program().procedures()) {
        const ReplyRule& rule = rules().of(info);
        if (rule.action != ReplyAction::prune) continue;
        ++lists;
        cr_assert(oracles().contains(info.name), "%s is not tested", info.name.data());
        for (int round = 0; round < 300; ++round) {
            const RandomSight sight(random(), static_cast<unsigned>(random() % 9));
            const ByteVector args = args_with(info, random, rule.need_results, 1);
            ByteVector reply = random_reply(info, random);
            const std::string_view pool = called_by(info).empty() ? "" : k_pool;
            const ByteVector expected = oracles().at(info.name).erase(reply, sight, pool);
            ReplyFilter filter = filter_of(info, args, sight);
            cr_assert(!filter.changes_args());
            cr_assert_eq(&filter.ask_for(), &info);
            const std::size_t before = reply.size();
            const Filtered filtered = filter.finish(reply, sight);
            cr_assert_eq(filtered.kind, Filtered::Kind::payload, "%s", info.name.data());
            cr_assert_eq(to_hex(filtered.payload), to_hex(expected), "%s", info.name.data());
            expect_canonical(info, filtered.payload);
            removed += filtered.payload.size() < before ? 1 : 0;
        }
    }
    cr_assert_eq(lists, 10, "%d", lists);
    cr_assert_gt(removed, 1000, "%d", removed);
}

Test(filter, counts_what_is_seen_if_only_the_number_is_wanted) {
    test::Random random(12);
    for (const ProcedureInfo& info : program().procedures()) {
        const ReplyRule& rule = rules().of(info);
        if (rule.action != ReplyAction::prune || rule.need_results == proto::layout::k_none) continue;
        for (int round = 0; round < 50; ++round) {
            const RandomSight sight(random(), 4);
            const ByteVector args = args_with(info, random, rule.need_results, 0);
            ReplyFilter filter = filter_of(info, args, sight);
            cr_assert(filter.changes_args());
            const std::uint32_t step[] = {rule.need_results};
            const auto place = locate(schema(), info.args, filter.args(), step, {});
            cr_assert_eq(load_be32(filter.args().data() + place.offset), 1U);
            cr_assert_eq(filter.args().size(), args.size());
            ByteVector reply = random_reply(info, random);
            std::uint32_t seen = 0;
            for (const Item& item : oracles().at(info.name).items(reply))
                seen += sight.sees(item, called_by(info).empty() ? "" : k_pool) ? 1 : 0;
            const Filtered filtered = filter.finish(reply, sight);
            cr_assert_eq(to_hex(filtered.payload), fmt::format("00000000{:08x}", seen));
            expect_canonical(info, filtered.payload);
        }
    }
}

Test(filter, makes_old_replies_of_new_ones, .timeout = 60) {
    test::Random random(13);
    int calls = 0;
    for (const ProcedureInfo& info : program().procedures()) {
        const ReplyRule& rule = rules().of(info);
        if (rule.action != ReplyAction::ask) continue;
        ++calls;
        cr_assert(oracles().contains(rule.instead->name), "%s is not tested", info.name.data());
        for (int round = 0; round < 100; ++round) {
            const RandomSight sight(random(), static_cast<unsigned>(random() % 9));
            const std::uint32_t most = round % 2 == 0 ? static_cast<std::uint32_t>(random() % 4) : 1000;
            const ByteVector args = args_with(info, random, rule.limit, most);
            ReplyFilter filter = filter_of(info, args, sight);
            cr_assert_eq(&filter.ask_for(), rule.instead);
            ByteVector asked(filter.args().begin(), filter.args().end());
            cr_assert_eq(validate(schema(), rule.instead->args, asked, proto::Extent::whole).flaw,
                         proto::Flaw::none, "%s", info.name.data());

            ByteVector reply = random_reply(*rule.instead, random);
            ByteVector expected(4);
            xdr::Writer writer(expected, 1 << 24);
            std::uint32_t seen = 0;
            for (const Item& item : oracles().at(rule.instead->name).items(reply)) {
                if (!sight.sees(item, called_by(info).empty() ? "" : k_pool)) continue;
                if (rule.extract != Extract::count && seen == most) break;
                ++seen;
                if (rule.extract == Extract::names) writer.string(item.own_name, 1 << 22);
                if (rule.extract == Extract::uuids) writer.string(to_text(*item.uuid), 1 << 22);
                if (rule.extract == Extract::ids) writer.i32(item.id);
            }
            store_be32(expected.data(), seen);
            const Filtered filtered = filter.finish(reply, sight);
            cr_assert_eq(filtered.kind, Filtered::Kind::payload, "%s", info.name.data());
            cr_assert_eq(to_hex(filtered.payload), to_hex(expected), "%s", info.name.data());
            expect_canonical(info, filtered.payload);
        }
    }
    cr_assert_eq(calls, 24, "%d", calls);
}

Test(filter, asks_with_the_right_arguments) {
    const RandomSight sight(1, 4);
    const auto args_of = [&](std::string_view name, const ByteVector& args) {
        return to_hex(filter_of(call(name), args, sight).args());
    };
    const auto one = [](auto value) { return proto::encode(value).value(); };
    cr_assert_eq(args_of("connect_list_domains", one(remote::ConnectListDomainsArgs{5})), "0000000100000001");
    cr_assert_eq(args_of("connect_num_of_domains", {}), "0000000100000001");
    cr_assert_eq(args_of("connect_num_of_defined_domains", {}), "0000000100000002");
    cr_assert_eq(args_of("connect_num_of_networks", {}), "0000000100000002");
    cr_assert_eq(args_of("connect_num_of_defined_networks", {}), "0000000100000001");
    cr_assert_eq(args_of("connect_num_of_secrets", {}), "0000000100000000");
    cr_assert_eq(args_of("connect_num_of_interfaces", {}), "00004000");
    cr_assert_eq(args_of("connect_list_interfaces", one(remote::ConnectListInterfacesArgs{2})), "00004000");
    const remote::StoragePool pool{"p", Uuid{}};
    cr_assert_eq(args_of("storage_pool_num_of_volumes", one(remote::StoragePoolNumOfVolumesArgs{pool})),
                 to_hex(one(remote::StoragePoolListAllVolumesArgs{pool, 1, 0})));
    cr_assert_eq(args_of("storage_pool_list_volumes", one(remote::StoragePoolListVolumesArgs{pool, 3})),
                 to_hex(one(remote::StoragePoolListAllVolumesArgs{pool, 1, 0})));
    const ByteVector devices = one(remote::NodeListDevicesArgs{"net", 65536, 7});
    cr_assert_eq(args_of("node_list_devices", one(remote::NodeListDevicesArgs{"net", 3, 7})),
                 to_hex(devices));
    cr_assert_eq(args_of("node_num_of_devices", one(remote::NodeNumOfDevicesArgs{"net", 7})),
                 to_hex(devices));
    cr_assert_eq(args_of("node_num_of_devices", one(remote::NodeNumOfDevicesArgs{std::nullopt, 0})),
                 to_hex(one(remote::NodeListDevicesArgs{std::nullopt, 65536, 0})));
}

// The pool of a volume is the one that the call means, whatever the reply repeats of the client's words.
Test(filter, believes_the_pool_of_the_call) {
    class Only final : public Sight {
    public:
        bool sees_all(ObjectKind) const noexcept override { return false; }
        bool sees(const Object& object) const noexcept override { return object.name == "true/v"; }
        std::optional<Uuid> nwfilter_uuid(std::string_view) const noexcept override { return {}; }
    } sight;
    const ProcedureInfo& info = call("storage_vol_lookup_by_name");
    const auto args = proto::encode(remote::StorageVolLookupByNameArgs{{"lie", Uuid{}}, "v"}).value();
    ByteVector reply = proto::encode(remote::StorageVolLookupByNameRet{{"lie", "v", "k"}}).value();
    for (const char* pool : {"true", "other"}) {
        const Object called[] = {{ObjectKind::pool, pool, Uuid{}}};
        auto filter = ReplyFilter::make(rules(), info, args, called, Driver::qemu, sight);
        cr_assert_eq(filter->finish(reply, sight).kind,
                     std::string_view(pool) == "true" ? Filtered::Kind::payload : Filtered::Kind::error);
    }
}

Test(filter, leaves_alone_what_needs_nothing) {
    const RandomSight sight(1, 0);
    class All final : public Sight {
    public:
        bool sees_all(ObjectKind kind) const noexcept override { return kind == ObjectKind::domain; }
        bool sees(const Object&) const noexcept override { return false; }
        std::optional<Uuid> nwfilter_uuid(std::string_view) const noexcept override { return {}; }
    } all;
    const auto made = [&](std::string_view name, const Sight& by, const ByteVector& args) {
        return ReplyFilter::make(rules(), call(name), args, {}, Driver::qemu, by).has_value();
    };
    cr_assert(!made("domain_get_info", sight, {}));
    cr_assert(!made("connect_num_of_domains", all, {}));
    cr_assert(made("connect_num_of_domains", sight, {}));
    cr_assert(made("connect_num_of_networks", all, {}));
}

namespace {

// Looks up something that the reply has and that is hidden; the text of the error.
std::string hidden(std::string_view name, const ByteVector& args, ByteVector reply,
                   Driver driver = Driver::qemu) {
    const RandomSight blind(1, 0);
    const RandomSight sharp(1, 8);
    ByteVector copy = reply;
    ReplyFilter seen = filter_of(call(name), args, sharp, driver);
    cr_assert_eq(to_hex(seen.finish(copy, sharp).payload), to_hex(reply));
    ReplyFilter filter = filter_of(call(name), args, blind, driver);
    const Filtered filtered = filter.finish(reply, blind);
    cr_assert_eq(filtered.kind, Filtered::Kind::error);
    const proto::net::Error& error = filtered.error;
    cr_assert_eq(error.level, 2);
    return fmt::format("{}/{} {} [{}] [{}] {} {}", error.code, error.domain, *error.message,
                       error.str1.value_or("-"), error.str2.value_or("-"), error.int1, error.int2);
}

template <class Args, class Ret>
std::string hidden(std::string_view name, const Args& args, const Ret& ret, Driver driver = Driver::qemu) {
    return hidden(name, proto::encode(args).value(), proto::encode(ret).value(), driver);
}

Uuid k_uuid() {
    Uuid uuid{};
    for (std::size_t i = 0; i < 16; ++i) uuid[i] = static_cast<std::byte>(i * 0x11);
    return uuid;
}

void expect(const std::string& is, const std::string& wanted) { cr_assert_eq(is, wanted, "%s", is.c_str()); }

}  // namespace

// As libvirt 9.0.0 says it, seen from its clients.
Test(filter, hides_objects_behind_libvirts_own_errors) {
    const remote::Domain domain{"a", k_uuid(), 4711};
    const std::string uuid = "00112233-4455-6677-8899-aabbccddeeff";
    expect(hidden("domain_lookup_by_id", remote::DomainLookupByIdArgs{4711},
                  remote::DomainLookupByIdRet{domain}),
           "42/10 Domain not found: no domain with matching id 4711 [Domain not found: %s] "
           "[no domain with matching id 4711] -1 -1");
    expect(hidden("domain_lookup_by_uuid", remote::DomainLookupByUuidArgs{k_uuid()},
                  remote::DomainLookupByUuidRet{domain}),
           "42/10 Domain not found: no domain with matching uuid '" + uuid +
               "' [Domain not found: %s] [no domain with matching uuid '" + uuid + "'] -1 -1");
    const auto by_name = [&](Driver driver) {
        return hidden("domain_lookup_by_name", remote::DomainLookupByNameArgs{"a"},
                      remote::DomainLookupByNameRet{domain}, driver);
    };
    expect(by_name(Driver::qemu),
           "42/10 Domain not found: no domain with matching name 'a' [Domain not found: %s] "
           "[no domain with matching name 'a'] -1 -1");
    expect(by_name(Driver::lxc),
           "42/17 Domain not found: No domain with matching name 'a' [Domain not found: %s] "
           "[No domain with matching name 'a'] -1 -1");
    expect(by_name(Driver::test), "42/12 Domain not found [Domain not found] [-] -1 -1");
    const remote::NodeDeviceLookupScsiHostByWwnArgs wwn{"2000000000000000", "2000000000000001", 0};
    expect(hidden("node_device_lookup_scsi_host_by_wwn", wwn,
                  remote::NodeDeviceLookupScsiHostByWwnRet{{"scsi_host1"}}),
           "1/0 An error occurred, but the cause is unknown [-] [-] 0 0");
}

Test(filter, hides_other_kinds_too) {
    const std::string uuid = "00112233-4455-6677-8899-aabbccddeeff";
    const remote::Network network{"n", k_uuid()};
    const remote::StoragePool pool{"p", k_uuid()};
    const remote::StorageVol volume{"p", "v", "/k"};
    const remote::Nwfilter filter{"f", k_uuid()};
    const auto message = [](std::string text) { return text.substr(0, text.find(" [")); };
    const auto expect_message = [&](const std::string& text, const std::string& wanted) {
        expect(message(text), wanted);
    };
    expect_message(hidden("network_lookup_by_name", remote::NetworkLookupByNameArgs{"n"},
                          remote::NetworkLookupByNameRet{network}),
                   "43/19 Network not found: no network with matching name 'n'");
    expect_message(hidden("network_lookup_by_uuid", remote::NetworkLookupByUuidArgs{k_uuid()},
                          remote::NetworkLookupByUuidRet{network}, Driver::test),
                   "43/12 Network not found: no network with matching uuid '" + uuid + "'");
    expect_message(hidden("storage_pool_lookup_by_volume", remote::StoragePoolLookupByVolumeArgs{volume},
                          remote::StoragePoolLookupByVolumeRet{pool}),
                   "49/18 Storage pool not found: no storage pool with matching name 'p'");
    expect_message(
        hidden("storage_pool_lookup_by_target_path", remote::StoragePoolLookupByTargetPathArgs{"/a//b/"},
               remote::StoragePoolLookupByTargetPathRet{pool}),
        "49/18 Storage pool not found: no storage pool with matching target path '/a//b/' (/a/b)");
    expect_message(hidden("storage_vol_lookup_by_key", remote::StorageVolLookupByKeyArgs{"/k"},
                          remote::StorageVolLookupByKeyRet{volume}),
                   "50/18 Storage volume not found: no storage vol with matching key /k");
    expect_message(hidden("storage_vol_lookup_by_key", remote::StorageVolLookupByKeyArgs{"/k"},
                          remote::StorageVolLookupByKeyRet{volume}, Driver::test),
                   "50/12 Storage volume not found: no storage vol with matching key '/k'");
    expect_message(hidden("storage_vol_lookup_by_path", remote::StorageVolLookupByPathArgs{"/k"},
                          remote::StorageVolLookupByPathRet{volume}),
                   "50/18 Storage volume not found: no storage vol with matching path '/k'");
    expect_message(hidden("storage_vol_lookup_by_name", remote::StorageVolLookupByNameArgs{pool, "v"},
                          remote::StorageVolLookupByNameRet{volume}),
                   "50/18 Storage volume not found: no storage vol with matching name 'v'");
    expect_message(hidden("node_device_lookup_by_name", remote::NodeDeviceLookupByNameArgs{"d"},
                          remote::NodeDeviceLookupByNameRet{{"d"}}),
                   "53/22 Node device not found: no node device with matching name 'd'");
    expect_message(hidden("interface_lookup_by_name", remote::InterfaceLookupByNameArgs{"eth0"},
                          remote::InterfaceLookupByNameRet{{"eth0", "m"}}),
                   "57/26 Interface not found: couldn't find interface named 'eth0'");
    expect_message(hidden("interface_lookup_by_mac_string", remote::InterfaceLookupByMacStringArgs{"m"},
                          remote::InterfaceLookupByMacStringRet{{"eth0", "m"}}),
                   "57/26 Interface not found: couldn't find interface with MAC address 'm'");
    expect_message(hidden("secret_lookup_by_usage", remote::SecretLookupByUsageArgs{2, "ceph"},
                          remote::SecretLookupByUsageRet{{k_uuid(), 2, "ceph"}}),
                   "66/30 Secret not found: no secret with matching usage 'ceph'");
    expect_message(hidden("nwfilter_lookup_by_name", remote::NwfilterLookupByNameArgs{"f"},
                          remote::NwfilterLookupByNameRet{filter}),
                   "62/33 Network filter not found: no nwfilter with matching name 'f'");
    expect_message(
        hidden("nwfilter_binding_lookup_by_port_dev", remote::NwfilterBindingLookupByPortDevArgs{"vnet0"},
               remote::NwfilterBindingLookupByPortDevRet{{"vnet0", "f"}}),
        "101/33 Network filter binding not found: no nwfilter binding for port dev 'vnet0'");
}

Test(filter, repeats_long_names_as_libvirt_cuts_them) {
    const std::string name(5000, 'x');
    const proto::net::Error error = not_found(Driver::qemu, Shape::domain, By::name, name);
    cr_assert_eq(error.str2->size(), 1023U);
    cr_assert_eq(*error.message, "Domain not found: " + *error.str2);
}

Test(filter, words_errors_of_calls_about_missing_objects) {
    Named named;
    named.object = {ObjectKind::domain, "gone", k_uuid()};
    named.own_name = "v1";
    named.pool = "p";
    const auto text = [&](Driver driver, Shape shape, bool has_pool = true) {
        return *not_there(driver, shape, named, has_pool).message;
    };
    const std::string uuid = "'00112233-4455-6677-8899-aabbccddeeff'";
    expect(text(Driver::qemu, Shape::domain),
           "Domain not found: no domain with matching uuid " + uuid + " (gone)");
    expect(text(Driver::test, Shape::snapshot),
           "Domain not found: no domain with matching uuid " + uuid + " (gone)");
    expect(text(Driver::qemu, Shape::port),
           "Network not found: no network with matching uuid " + uuid + " (gone)");
    expect(text(Driver::test, Shape::network), "Network not found: no network with matching name 'gone'");
    expect(text(Driver::qemu, Shape::volume),
           "Storage volume not found: no storage vol with matching name 'v1'");
    expect(text(Driver::qemu, Shape::volume, false),
           "Storage pool not found: no storage pool with matching name 'p'");
    expect(text(Driver::qemu, Shape::secret), "Secret not found: no secret with matching uuid " + uuid);
}

Test(filter, hides_the_parent_of_a_device) {
    const ProcedureInfo& info = call("node_device_get_parent");
    const ByteVector args = proto::encode(remote::NodeDeviceGetParentArgs{"d"}).value();
    for (const bool sees : {false, true}) {
        const RandomSight sight(1, sees ? 8 : 0);
        ByteVector reply = proto::encode(remote::NodeDeviceGetParentRet{"pci"}).value();
        ReplyFilter filter = filter_of(info, args, sight);
        cr_assert_eq(to_hex(filter.finish(reply, sight).payload),
                     sees ? to_hex(reply) : std::string("00000000"));
        ByteVector none = proto::encode(remote::NodeDeviceGetParentRet{}).value();
        cr_assert_eq(to_hex(filter_of(info, args, sight).finish(none, sight).payload), "00000000");
    }
}

Test(filter, passes_events_about_what_is_seen) {
    const ProcedureInfo& info = call("domain_event_callback_lifecycle");
    const remote::DomainEventCallbackLifecycleMsg msg{3, {{"a", k_uuid(), -1}, 1, 0}};
    const ByteVector payload = proto::encode(msg).value();
    cr_assert(may_pass(program(), info, payload, RandomSight(1, 8)));
    cr_assert(!may_pass(program(), info, payload, RandomSight(1, 0)));
    cr_assert(!may_pass(program(), info, ByteView(payload).first(8), RandomSight(1, 8)));
    test::Random random(17);
    for (int i = 0; i < 200; ++i) {
        const RandomSight sight(random(), 4);
        const auto any = test::random_payload(schema(), info.args, random).value();
        const auto value = proto::decode<remote::DomainEventCallbackLifecycleMsg>(any).value();
        cr_assert_eq(may_pass(program(), info, any, sight), sight.sees(item_of(value.msg.domain)));
    }
}

// Payloads that have not been validated: anything may come out, but nothing is touched outside of them, and a
// list that ends early is never sent.
Test(filter, survives_damaged_replies, .timeout = 60) {
    test::Random random(19);
    for (const ProcedureInfo& info : program().procedures()) {
        const ReplyRule& rule = rules().of(info);
        if (info.kind != ProcedureInfo::Kind::call || rule.action == ReplyAction::nothing) continue;
        const ProcedureInfo& asked = rule.instead != nullptr ? *rule.instead : info;
        for (int round = 0; round < 60; ++round) {
            const RandomSight sight(random(), 4);
            const ByteVector whole = random_reply(asked, random);
            ByteVector reply = whole;
            if (round % 2 == 0)
                reply.resize(random() % (reply.size() + 1));
            else if (!reply.empty())
                store_be32(reply.data() + random() % (reply.size() / 4) * 4,
                           static_cast<std::uint32_t>(random()));
            reply.shrink_to_fit();
            ReplyFilter filter = filter_of(info, args_with(info, random, proto::layout::k_none, 0), sight);
            const Filtered filtered = filter.finish(reply, sight);
            cr_assert(filtered.payload.size() <= 1U << 20);
            ReplyFilter headless = filter_of(info, {}, sight);
            (void)headless.finish(reply, sight);
        }
    }
    const RandomSight sight(1, 8);
    ByteVector reply = proto::encode(remote::ConnectListAllDomainsRet{{{"a", k_uuid(), 1}}, 1}).value();
    ReplyFilter filter = filter_of(call("connect_num_of_domains"), {}, sight);
    cr_assert_eq(filter.finish(MutableBytes(reply).first(20), sight).kind, Filtered::Kind::broken);
}
