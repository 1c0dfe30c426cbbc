// SPDX-License-Identifier: LGPL-2.1-or-later
// xml_calls - which calls describe something in XML: the reviewed list.
#include "policy/xml_calls.h"

#include <algorithm>
#include <iterator>

#include "proto/programs.h"

namespace virtgate::policy {

namespace {

using enum XmlArgument::Form;
constexpr bool k_needed = true;

// A machine that moves has its description in an argument, and the one that is kept in the cookie of the last call.
// With "reuse external", files that are there become images of the machine.
constexpr std::uint64_t k_snapshot_reuses = 0x20, k_backup_reuses = 0x1, k_copy_reuses = 0x2;

// All rows of one procedure stand together.
constexpr XmlArgument k_rows[] = {
    // machines
    {"domain_create_xml", "xml", text, k_needed},
    {"domain_create_xml_with_files", "xml", text, k_needed},
    {"domain_define_xml", "xml", text, k_needed},
    {"domain_define_xml_flags", "xml", text, k_needed},
    {"domain_attach_device", "xml", text, k_needed},
    {"domain_attach_device_flags", "xml", text, k_needed},
    {"domain_update_device_flags", "xml", text, k_needed},
    // Who may not attach a device may not take it away.
    {"domain_detach_device", "xml", text, k_needed},
    {"domain_detach_device_flags", "xml", text, k_needed},
    {"domain_block_copy", "destination_xml", text, k_needed, k_copy_reuses},
    {"domain_backup_begin", "backup_xml", text, k_needed, k_backup_reuses},
    {"domain_backup_begin", "checkpoint_xml", text},
    {"domain_snapshot_create_xml", "xml", text, k_needed, k_snapshot_reuses},
    {"domain_checkpoint_create_xml", "xml", text, k_needed},
    // saved ones: without XML of the call's own the file has it, and anybody may have written that
    {"domain_restore", "", hidden},
    {"domain_restore_flags", "destination_xml", text, k_needed},
    {"domain_restore_params", "dxml", parameter, k_needed},
    {"domain_save_flags", "destination_xml", text},
    {"domain_save_params", "dxml", parameter},
    {"domain_save_image_define_xml", "destination_xml", text, k_needed},
    {"domain_managed_save_define_xml", "destination_xml", text},
    // those that go elsewhere
    {"domain_migrate_begin3", "xml", text},
    {"domain_migrate_begin3_params", "destination_xml", parameter},
    {"domain_migrate_begin3_params", "persistent_xml", parameter},
    {"domain_migrate_perform3", "xml", text},
    {"domain_migrate_perform3_params", "destination_xml", parameter},
    {"domain_migrate_perform3_params", "persistent_xml", parameter},
    // and those that come
    {"domain_migrate_prepare", "", hidden},
    {"domain_migrate_prepare2", "domain_xml", text, k_needed},
    {"domain_migrate_prepare_tunnel", "domain_xml", text, k_needed},
    {"domain_migrate_prepare3", "domain_xml", text, k_needed},
    {"domain_migrate_prepare3", "cookie_in", cookie},
    {"domain_migrate_prepare_tunnel3", "domain_xml", text, k_needed},
    {"domain_migrate_prepare_tunnel3", "cookie_in", cookie},
    {"domain_migrate_prepare3_params", "destination_xml", parameter, k_needed},
    {"domain_migrate_prepare3_params", "persistent_xml", parameter},
    {"domain_migrate_prepare3_params", "cookie_in", cookie},
    {"domain_migrate_prepare_tunnel3_params", "destination_xml", parameter, k_needed},
    {"domain_migrate_prepare_tunnel3_params", "persistent_xml", parameter},
    {"domain_migrate_prepare_tunnel3_params", "cookie_in", cookie},
    {"domain_migrate_finish", "cookie", cookie},
    {"domain_migrate_finish2", "cookie", cookie},
    {"domain_migrate_finish3", "cookie_in", cookie},
    {"domain_migrate_finish3_params", "destination_xml", parameter},
    {"domain_migrate_finish3_params", "persistent_xml", parameter},
    {"domain_migrate_finish3_params", "cookie_in", cookie},
    // A process of the host becomes a machine, as it was started.
    {"qemu.domain_attach", "", hidden},
    // libvirt runs the emulator to find out what it can do, and files may be named in a native format.
    {"connect_domain_xml_to_native", "domain_xml", text, k_needed},
    {"connect_domain_xml_from_native", "", hidden},
    {"connect_get_domain_capabilities", "emulator", program},
    {"connect_compare_hypervisor_cpu", "emulator", program},
    {"connect_baseline_hypervisor_cpu", "emulator", program},
    // everything else
    {"network_create_xml", "xml", text, k_needed},
    {"network_create_xml_flags", "xml", text, k_needed},
    {"network_define_xml", "xml", text, k_needed},
    {"network_define_xml_flags", "xml", text, k_needed},
    {"network_update", "xml", text, k_needed},
    {"network_port_create_xml", "xml", text, k_needed},
    {"storage_pool_create_xml", "xml", text, k_needed},
    {"storage_pool_define_xml", "xml", text, k_needed},
    {"storage_vol_create_xml", "xml", text, k_needed},
    {"storage_vol_create_xml_from", "xml", text, k_needed},
    {"secret_define_xml", "xml", text, k_needed},
    {"node_device_create_xml", "xml", text, k_needed},
    {"node_device_define_xml", "xml", text, k_needed},
    {"node_device_update", "xml", text, k_needed},
    {"interface_define_xml", "xml", text, k_needed},
    {"nwfilter_define_xml", "xml", text, k_needed},
    {"nwfilter_define_xml_flags", "xml", text, k_needed},
    {"nwfilter_binding_create_xml", "xml", text, k_needed},
};

}  // namespace

std::span<const XmlArgument> xml_arguments(const proto::ProgramInfo& program,
                                           const proto::ProcedureInfo& procedure) noexcept {
    if (program.is_added()) return {};
    const bool is_remote = program.number == proto::remote_program().number;
    const auto is_of = [&](const XmlArgument& row) {
        if (is_remote) return row.procedure == procedure.name;
        const auto dot = row.procedure.find('.');
        return dot != row.procedure.npos && row.procedure.substr(0, dot) == program.name &&
               row.procedure.substr(dot + 1) == procedure.name;
    };
    const auto* first = std::find_if(std::begin(k_rows), std::end(k_rows), is_of);
    const auto* last = std::find_if_not(first, std::end(k_rows), is_of);
    return {first, last};
}

}  // namespace virtgate::policy
