// SPDX-License-Identifier: LGPL-2.1-or-later
// filter_rules - what has to happen to the reply of each procedure when its client may not see everything.
#include "workerd/worker/filter_rules.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "proto/programs.h"

namespace virtgate::workerd::worker {

namespace {

using proto::ProcedureInfo;
using proto::layout::k_none;
using proto::layout::Section;

// Bits of libvirt's list calls. Domains number them the other way round than everything else.
constexpr std::uint32_t k_active_domains = 1;
constexpr std::uint32_t k_inactive_domains = 2;
constexpr std::uint32_t k_inactive = 1;
constexpr std::uint32_t k_active = 2;

// The calls that are asked in another way. `limit` is the argument that says how many are wanted.
struct Old {
    std::string_view name;
    std::string_view instead;
    Arguments arguments;
    std::uint32_t flags;
    Extract extract;
    std::string_view limit;
};
using A = Arguments;
using enum Extract;
constexpr Old k_old[] = {
    {"connect_list_domains", "connect_list_all_domains", A::list_all, k_active_domains, ids, "max_ids"},
    {"connect_num_of_domains", "connect_list_all_domains", A::list_all, k_active_domains, count, ""},
    {"connect_list_defined_domains", "connect_list_all_domains", A::list_all, k_inactive_domains, names,
     "max_names"},
    {"connect_num_of_defined_domains", "connect_list_all_domains", A::list_all, k_inactive_domains, count,
     ""},
    {"connect_list_networks", "connect_list_all_networks", A::list_all, k_active, names, "max_names"},
    {"connect_num_of_networks", "connect_list_all_networks", A::list_all, k_active, count, ""},
    {"connect_list_defined_networks", "connect_list_all_networks", A::list_all, k_inactive, names,
     "max_names"},
    {"connect_num_of_defined_networks", "connect_list_all_networks", A::list_all, k_inactive, count, ""},
    {"connect_list_storage_pools", "connect_list_all_storage_pools", A::list_all, k_active, names,
     "max_names"},
    {"connect_num_of_storage_pools", "connect_list_all_storage_pools", A::list_all, k_active, count, ""},
    {"connect_list_defined_storage_pools", "connect_list_all_storage_pools", A::list_all, k_inactive, names,
     "max_names"},
    {"connect_num_of_defined_storage_pools", "connect_list_all_storage_pools", A::list_all, k_inactive, count,
     ""},
    // These have nothing but names, and the newer call counts the loopback device, which the older one leaves
    // out.
    {"connect_list_interfaces", "connect_list_interfaces", A::names, 0, names, "max_names"},
    {"connect_num_of_interfaces", "connect_list_interfaces", A::names, 0, count, ""},
    {"connect_list_defined_interfaces", "connect_list_defined_interfaces", A::names, 0, names, "max_names"},
    {"connect_num_of_defined_interfaces", "connect_list_defined_interfaces", A::names, 0, count, ""},
    {"connect_list_nwfilters", "connect_list_all_nwfilters", A::list_all, 0, names, "max_names"},
    {"connect_num_of_nwfilters", "connect_list_all_nwfilters", A::list_all, 0, count, ""},
    {"connect_list_secrets", "connect_list_all_secrets", A::list_all, 0, uuids, "max_uuids"},
    {"connect_num_of_secrets", "connect_list_all_secrets", A::list_all, 0, count, ""},
    {"storage_pool_list_volumes", "storage_pool_list_all_volumes", A::volumes, 0, names, "max_names"},
    {"storage_pool_num_of_volumes", "storage_pool_list_all_volumes", A::volumes, 0, count, ""},
    // By capability, which the newer call takes as flags only; a device has nothing but its name anyway.
    {"node_list_devices", "node_list_devices", A::devices, 0, names, "max_names"},
    {"node_num_of_devices", "node_list_devices", A::devices, 0, count, ""},
};

// Calls that look like a list, a count or a look-up, and need nothing.
struct Harmless {
    std::string_view name;
    std::string_view reason;
};
constexpr std::string_view k_of_called = "of the object that the call names";
constexpr std::string_view k_number = "a number of the host, not of objects";
constexpr std::string_view k_words = "words, not names of objects";
constexpr std::string_view k_registers = "each event is filtered on its way";
constexpr Harmless k_harmless[] = {
    {"auth_list", k_words},
    {"connect_get_cpu_model_names", k_words},
    {"connect_domain_event_register", k_registers},
    {"connect_domain_event_register_any", k_registers},
    {"connect_domain_event_callback_register_any", k_registers},
    {"connect_domain_monitor_event_register", k_registers},
    {"connect_network_event_register_any", k_registers},
    {"connect_storage_pool_event_register_any", k_registers},
    {"connect_node_device_event_register_any", k_registers},
    {"connect_secret_event_register_any", k_registers},
    {"node_device_list_caps", k_words},
    {"node_device_num_of_caps", k_of_called},
    {"node_get_cells_free_memory", k_number},
    {"node_get_free_pages", k_number},
    {"node_get_cpu_stats", k_number},
    {"node_get_memory_stats", k_number},
    {"node_get_memory_parameters", k_number},
    {"node_get_sev_info", k_number},
    {"domain_get_iothread_info", k_of_called},
    {"domain_get_vcpus", k_of_called},
    {"domain_get_vcpus_flags", k_of_called},
    {"domain_get_max_vcpus", k_of_called},
    {"domain_get_vcpu_pin_info", k_of_called},
    {"domain_get_emulator_pin_info", k_of_called},
    {"domain_get_scheduler_type", k_of_called},
    {"domain_get_security_label_list", k_of_called},
    {"domain_get_disk_errors", k_of_called},
    {"domain_get_fsinfo", k_of_called},
    {"domain_interface_addresses", k_of_called},
    {"domain_memory_stats", k_of_called},
    {"domain_authorized_ssh_keys_get", k_of_called},
    {"domain_get_messages", k_of_called},
    {"domain_snapshot_num", k_of_called},
    {"domain_snapshot_list_names", k_of_called},
    {"domain_snapshot_num_children", k_of_called},
    {"domain_snapshot_list_children_names", k_of_called},
    {"network_get_dhcp_leases", k_of_called},
};

// Look-ups whose key has no annotation of its own.
struct Special {
    std::string_view name;
    By by;
    std::string_view key;  // field.field of the arguments
};
constexpr Special k_special[] = {
    {"storage_pool_lookup_by_volume", By::name, "volume.pool"},
    {"node_device_lookup_scsi_host_by_wwn", By::wwn, ""},
};

// The annotations call a key what it is in the object.
std::optional<By> by_of(std::string_view identity) noexcept {
    constexpr std::pair<std::string_view, By> k_words_of[] = {
        {"id", By::id},   {"uuid", By::uuid},      {"name", By::name},
        {"key", By::key}, {"path", By::path},      {"target_path", By::target_path},
        {"mac", By::mac}, {"usage_id", By::usage}, {"port_device", By::port_device},
    };
    for (const auto& [word, by] : k_words_of)
        if (word == identity) return by;
    return std::nullopt;
}

// volume.pool: the first field of the first field.
constexpr std::uint32_t k_pool_of_volume[] = {0, 0};
// An array of names as the only field of a reply.
constexpr std::uint32_t k_names[] = {0, proto::layout::k_each};

ReplyRule nothing(std::string_view reason) {
    ReplyRule rule;
    rule.reason = reason;
    return rule;
}

ReplyRule withhold() {
    ReplyRule rule;
    rule.action = ReplyAction::withhold;
    return rule;
}

}  // namespace

ReplyRules::ReplyRules(const proto::ProgramInfo& program) : program_(program) {
    for (const ProcedureInfo& procedure : program.procedures()) {
        if (procedure.kind != ProcedureInfo::Kind::call) continue;
        if (procedure.number >= rules_.size()) rules_.resize(procedure.number + 1);
        rules_[procedure.number] = make(procedure);
    }
}

ReplyRules::ReplyRules() : program_(proto::remote_program()) {}

const ReplyRule& ReplyRules::of(const ProcedureInfo& procedure) const noexcept {
    static const ReplyRule k_nothing{};
    return procedure.number < rules_.size() ? rules_[procedure.number] : k_nothing;
}

std::uint32_t ReplyRules::field(proto::TypeIndex structure, std::string_view name) const noexcept {
    if (structure == proto::k_void) return k_none;
    const proto::Schema& schema = program_.schema;
    const std::uint32_t* row = schema.row(Section::types, structure);
    for (std::uint32_t i = 0; i < row[4]; ++i)
        if (schema.text(schema.row(Section::fields, row[3] + i)[1]) == name) return i;
    return k_none;
}

// The tables come first: they know better than the annotations.
ReplyRule ReplyRules::make(const ProcedureInfo& procedure) const {
    for (std::size_t row = 0; row < std::size(k_old); ++row)
        if (k_old[row].name == procedure.name) return make_ask(procedure, row);
    for (const Harmless& harmless : k_harmless)
        if (harmless.name == procedure.name) return nothing(harmless.reason);
    if (procedure.name == "node_device_get_parent") {
        ReplyRule rule;
        rule.action = ReplyAction::parent;
        rule.shape = Shape::nodedev;
        return rule;
    }
    if (procedure.returns.empty()) return nothing("");
    return procedure.returns.front().list ? make_list(procedure) : make_single(procedure);
}

ReplyRule ReplyRules::make_list(const ProcedureInfo& procedure) const {
    const proto::ObjectPlace& place = procedure.returns.front();
    const auto shape = shape_of(place.object);
    if (!shape) return withhold();
    if (belongs_to_called(*shape)) return nothing(k_of_called);
    ReplyRule rule;
    rule.action = ReplyAction::prune;
    rule.shape = *shape;
    rule.steps = place.steps;
    // All newer list calls repeat the length of the list in `result`, and leave the list empty if it is not
    // wanted. Statistics of domains have neither.
    rule.count_field = field(procedure.ret, "result");
    rule.need_results = field(procedure.args, "need_results");
    return rule;
}

ReplyRule ReplyRules::make_single(const ProcedureInfo& procedure) const {
    const proto::ObjectPlace& place = procedure.returns.front();
    const auto shape = shape_of(place.object);
    if (!shape) return withhold();
    if (belongs_to_called(*shape)) return nothing(k_of_called);
    ReplyRule rule;
    rule.action = ReplyAction::single;
    rule.shape = *shape;
    rule.steps = place.steps;
    for (const Special& special : k_special) {
        if (special.name != procedure.name) continue;
        rule.by = special.by;
        if (!special.key.empty()) rule.key = k_pool_of_volume;
        return rule;
    }
    // Of a pair of keys (a secret's usage type and id) the last one is in the error.
    const proto::ObjectPlace* key = nullptr;
    for (const proto::ObjectPlace& candidate : procedure.keys)
        if (candidate.how == "lookup") key = &candidate;
    // Hiding what a call has just made, or acted on, would hide nothing: the caller named it, and was allowed
    // to.
    if (key == nullptr) return nothing("the object that the call has named or made");
    const auto by = by_of(key->identity);
    if (!by) return withhold();
    rule.by = *by;
    rule.key = key->steps;
    return rule;
}

ReplyRule ReplyRules::make_ask(const ProcedureInfo& procedure, std::size_t row) const {
    const Old& old = k_old[row];
    const bool bare = old.arguments == A::devices || old.arguments == A::names;
    const ProcedureInfo* instead = program_.find(old.instead);
    if (instead == nullptr || (instead->returns.empty() && !bare)) return withhold();
    ReplyRule rule;
    rule.action = ReplyAction::ask;
    rule.instead = instead;
    rule.arguments = old.arguments;
    rule.flags = old.flags;
    rule.extract = old.extract;
    if (!old.limit.empty()) {
        rule.limit = field(procedure.args, old.limit);
        if (rule.limit == k_none) return withhold();
    }
    if (bare) {
        rule.bare_names = true;
        rule.shape = old.arguments == A::devices ? Shape::nodedev : Shape::interface;
        rule.steps = k_names;
    } else {
        const auto shape = shape_of(instead->returns.front().object);
        if (!shape) return withhold();
        rule.shape = *shape;
        rule.steps = instead->returns.front().steps;
    }
    return rule;
}

}  // namespace virtgate::workerd::worker
