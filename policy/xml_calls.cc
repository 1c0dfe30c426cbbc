// SPDX-License-Identifier: LGPL-2.1-or-later
// xml_calls - which calls describe something in XML: the reviewed list.
#include "policy/xml_calls.h"

#include <algorithm>
#include <array>

#include "proto/programs.h"

namespace virtgate::policy {

namespace {

using enum XmlArgument::Form;

// A machine that moves has its description in an argument, and the one that is kept in the cookie of the last call.
// With "reuse external", files that are there become images of the machine.
constexpr std::uint64_t k_snapshot_reuses = 0x20, k_backup_reuses = 0x1, k_copy_reuses = 0x2;

// All rows of one procedure stand together.
constexpr std::array k_rows{
    // machines
    XmlArgument{"domain_create_xml", "xml", text, true},
    XmlArgument{"domain_create_xml_with_files", "xml", text, true},
    XmlArgument{"domain_define_xml", "xml", text, true},
    XmlArgument{"domain_define_xml_flags", "xml", text, true},
    XmlArgument{"domain_attach_device", "xml", text, true},
    XmlArgument{"domain_attach_device_flags", "xml", text, true},
    XmlArgument{"domain_update_device_flags", "xml", text, true},
    // Who may not attach a device may not take it away.
    XmlArgument{"domain_detach_device", "xml", text, true},
    XmlArgument{"domain_detach_device_flags", "xml", text, true},
    XmlArgument{"domain_block_copy", "destination_xml", text, true, k_copy_reuses},
    XmlArgument{"domain_backup_begin", "backup_xml", text, true, k_backup_reuses},
    XmlArgument{"domain_backup_begin", "checkpoint_xml", text},
    XmlArgument{"domain_snapshot_create_xml", "xml", text, true, k_snapshot_reuses},
    XmlArgument{"domain_checkpoint_create_xml", "xml", text, true},
    // saved ones: without XML of the call's own the file has it, and anybody may have written that
    XmlArgument{"domain_restore", "", hidden},
    XmlArgument{"domain_restore_flags", "destination_xml", text, true},
    XmlArgument{"domain_restore_params", "dxml", parameter, true},
    XmlArgument{"domain_save_flags", "destination_xml", text},
    XmlArgument{"domain_save_params", "dxml", parameter},
    XmlArgument{"domain_save_image_define_xml", "destination_xml", text, true},
    XmlArgument{"domain_managed_save_define_xml", "destination_xml", text},
    // those that go elsewhere
    XmlArgument{"domain_migrate_begin3", "xml", text},
    XmlArgument{"domain_migrate_begin3_params", "destination_xml", parameter},
    XmlArgument{"domain_migrate_begin3_params", "persistent_xml", parameter},
    XmlArgument{"domain_migrate_perform3", "xml", text},
    XmlArgument{"domain_migrate_perform3_params", "destination_xml", parameter},
    XmlArgument{"domain_migrate_perform3_params", "persistent_xml", parameter},
    // and those that come
    XmlArgument{"domain_migrate_prepare", "", hidden},
    XmlArgument{"domain_migrate_prepare2", "domain_xml", text, true},
    XmlArgument{"domain_migrate_prepare_tunnel", "domain_xml", text, true},
    XmlArgument{"domain_migrate_prepare3", "domain_xml", text, true},
    XmlArgument{"domain_migrate_prepare3", "cookie_in", cookie},
    XmlArgument{"domain_migrate_prepare_tunnel3", "domain_xml", text, true},
    XmlArgument{"domain_migrate_prepare_tunnel3", "cookie_in", cookie},
    XmlArgument{"domain_migrate_prepare3_params", "destination_xml", parameter, true},
    XmlArgument{"domain_migrate_prepare3_params", "persistent_xml", parameter},
    XmlArgument{"domain_migrate_prepare3_params", "cookie_in", cookie},
    XmlArgument{"domain_migrate_prepare_tunnel3_params", "destination_xml", parameter, true},
    XmlArgument{"domain_migrate_prepare_tunnel3_params", "persistent_xml", parameter},
    XmlArgument{"domain_migrate_prepare_tunnel3_params", "cookie_in", cookie},
    XmlArgument{"domain_migrate_finish", "cookie", cookie},
    XmlArgument{"domain_migrate_finish2", "cookie", cookie},
    XmlArgument{"domain_migrate_finish3", "cookie_in", cookie},
    XmlArgument{"domain_migrate_finish3_params", "destination_xml", parameter},
    XmlArgument{"domain_migrate_finish3_params", "persistent_xml", parameter},
    XmlArgument{"domain_migrate_finish3_params", "cookie_in", cookie},
    // A process of the host becomes a machine, as it was started.
    XmlArgument{"qemu.domain_attach", "", hidden},
    // libvirt runs the emulator to find out what it can do, and files may be named in a native format.
    XmlArgument{"connect_domain_xml_to_native", "domain_xml", text, true},
    XmlArgument{"connect_domain_xml_from_native", "", hidden},
    XmlArgument{"connect_get_domain_capabilities", "emulator", program},
    XmlArgument{"connect_compare_hypervisor_cpu", "emulator", program},
    XmlArgument{"connect_baseline_hypervisor_cpu", "emulator", program},
    // everything else
    XmlArgument{"network_create_xml", "xml", text, true},
    XmlArgument{"network_create_xml_flags", "xml", text, true},
    XmlArgument{"network_define_xml", "xml", text, true},
    XmlArgument{"network_define_xml_flags", "xml", text, true},
    XmlArgument{"network_update", "xml", text, true},
    XmlArgument{"network_port_create_xml", "xml", text, true},
    XmlArgument{"storage_pool_create_xml", "xml", text, true},
    XmlArgument{"storage_pool_define_xml", "xml", text, true},
    XmlArgument{"storage_vol_create_xml", "xml", text, true},
    XmlArgument{"storage_vol_create_xml_from", "xml", text, true},
    XmlArgument{"secret_define_xml", "xml", text, true},
    XmlArgument{"node_device_create_xml", "xml", text, true},
    XmlArgument{"node_device_define_xml", "xml", text, true},
    XmlArgument{"node_device_update", "xml", text, true},
    XmlArgument{"interface_define_xml", "xml", text, true},
    XmlArgument{"nwfilter_define_xml", "xml", text, true},
    XmlArgument{"nwfilter_define_xml_flags", "xml", text, true},
    XmlArgument{"nwfilter_binding_create_xml", "xml", text, true},
};

}  // namespace

std::span<const XmlArgument> xml_arguments(const proto::ProgramInfo& program,
                                           const proto::ProcedureInfo& procedure) noexcept {
    const bool is_remote = program.number == proto::remote_program().number;
    const auto is_of = [&](const XmlArgument& row) {
        if (is_remote) return row.procedure == procedure.name;
        const auto dot = row.procedure.find('.');
        return dot != row.procedure.npos && row.procedure.substr(0, dot) == program.name &&
               row.procedure.substr(dot + 1) == procedure.name;
    };
    const auto* first = std::find_if(k_rows.begin(), k_rows.end(), is_of);
    const auto* last = std::find_if_not(first, k_rows.end(), is_of);
    return {first, last};
}

}  // namespace virtgate::policy
