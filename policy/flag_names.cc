// SPDX-License-Identifier: LGPL-2.1-or-later
// flag_names - the names that libvirt has for the bits of "flags", by procedure.
#include "policy/flag_names.h"

#include <fmt/format.h>
#include <charconv>

namespace virtgate::policy {

namespace {

struct Row {
    std::string_view procedures;  // separated by |; an * at the end stands for any end
    std::string_view name;
    std::uint64_t bit;
    std::size_t prefix;  // how much of the name all of the family have
};

// clang-format off
constexpr Row k_rows[] = {
    {"domain_create_with_flags|domain_create_xml|domain_create_xml_with_files|domain_create_with_files", "VIR_DOMAIN_START_PAUSED", 0x1U, 17},
    {"domain_create_with_flags|domain_create_xml|domain_create_xml_with_files|domain_create_with_files", "VIR_DOMAIN_START_AUTODESTROY", 0x2U, 17},
    {"domain_create_with_flags|domain_create_xml|domain_create_xml_with_files|domain_create_with_files", "VIR_DOMAIN_START_BYPASS_CACHE", 0x4U, 17},
    {"domain_create_with_flags|domain_create_xml|domain_create_xml_with_files|domain_create_with_files", "VIR_DOMAIN_START_FORCE_BOOT", 0x8U, 17},
    {"domain_create_with_flags|domain_create_xml|domain_create_xml_with_files|domain_create_with_files", "VIR_DOMAIN_START_VALIDATE", 0x10U, 17},
    {"domain_create_with_flags|domain_create_xml|domain_create_xml_with_files|domain_create_with_files", "VIR_DOMAIN_START_RESET_NVRAM", 0x20U, 17},
    {"domain_destroy_flags", "VIR_DOMAIN_DESTROY_GRACEFUL", 0x1U, 19},
    {"domain_destroy_flags", "VIR_DOMAIN_DESTROY_REMOVE_LOGS", 0x2U, 19},
    {"domain_undefine_flags", "VIR_DOMAIN_UNDEFINE_MANAGED_SAVE", 0x1U, 20},
    {"domain_undefine_flags", "VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA", 0x2U, 20},
    {"domain_undefine_flags", "VIR_DOMAIN_UNDEFINE_NVRAM", 0x4U, 20},
    {"domain_undefine_flags", "VIR_DOMAIN_UNDEFINE_KEEP_NVRAM", 0x8U, 20},
    {"domain_undefine_flags", "VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA", 0x10U, 20},
    {"domain_undefine_flags", "VIR_DOMAIN_UNDEFINE_TPM", 0x20U, 20},
    {"domain_undefine_flags", "VIR_DOMAIN_UNDEFINE_KEEP_TPM", 0x40U, 20},
    {"domain_shutdown_flags", "VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN", 0x1U, 20},
    {"domain_shutdown_flags", "VIR_DOMAIN_SHUTDOWN_GUEST_AGENT", 0x2U, 20},
    {"domain_shutdown_flags", "VIR_DOMAIN_SHUTDOWN_INITCTL", 0x4U, 20},
    {"domain_shutdown_flags", "VIR_DOMAIN_SHUTDOWN_SIGNAL", 0x8U, 20},
    {"domain_shutdown_flags", "VIR_DOMAIN_SHUTDOWN_PARAVIRT", 0x10U, 20},
    {"domain_reboot", "VIR_DOMAIN_REBOOT_ACPI_POWER_BTN", 0x1U, 18},
    {"domain_reboot", "VIR_DOMAIN_REBOOT_GUEST_AGENT", 0x2U, 18},
    {"domain_reboot", "VIR_DOMAIN_REBOOT_INITCTL", 0x4U, 18},
    {"domain_reboot", "VIR_DOMAIN_REBOOT_SIGNAL", 0x8U, 18},
    {"domain_reboot", "VIR_DOMAIN_REBOOT_PARAVIRT", 0x10U, 18},
    {"domain_get_xml_desc", "VIR_DOMAIN_XML_SECURE", 0x1U, 15},
    {"domain_get_xml_desc", "VIR_DOMAIN_XML_INACTIVE", 0x2U, 15},
    {"domain_get_xml_desc", "VIR_DOMAIN_XML_UPDATE_CPU", 0x4U, 15},
    {"domain_get_xml_desc", "VIR_DOMAIN_XML_MIGRATABLE", 0x8U, 15},
    {"domain_define_xml_flags", "VIR_DOMAIN_DEFINE_VALIDATE", 0x1U, 18},
    {"domain_migrate_*", "VIR_MIGRATE_LIVE", 0x1U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_PEER2PEER", 0x2U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_TUNNELLED", 0x4U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_PERSIST_DEST", 0x8U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_UNDEFINE_SOURCE", 0x10U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_PAUSED", 0x20U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_NON_SHARED_DISK", 0x40U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_NON_SHARED_INC", 0x80U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_CHANGE_PROTECTION", 0x100U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_UNSAFE", 0x200U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_OFFLINE", 0x400U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_COMPRESSED", 0x800U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_ABORT_ON_ERROR", 0x1000U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_AUTO_CONVERGE", 0x2000U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_RDMA_PIN_ALL", 0x4000U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_POSTCOPY", 0x8000U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_TLS", 0x10000U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_PARALLEL", 0x20000U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES", 0x40000U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_POSTCOPY_RESUME", 0x80000U, 12},
    {"domain_migrate_*", "VIR_MIGRATE_ZEROCOPY", 0x100000U, 12},
    {"domain_snapshot_create_xml", "VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE", 0x1U, 27},
    {"domain_snapshot_create_xml", "VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT", 0x2U, 27},
    {"domain_snapshot_create_xml", "VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA", 0x4U, 27},
    {"domain_snapshot_create_xml", "VIR_DOMAIN_SNAPSHOT_CREATE_HALT", 0x8U, 27},
    {"domain_snapshot_create_xml", "VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY", 0x10U, 27},
    {"domain_snapshot_create_xml", "VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT", 0x20U, 27},
    {"domain_snapshot_create_xml", "VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE", 0x40U, 27},
    {"domain_snapshot_create_xml", "VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC", 0x80U, 27},
    {"domain_snapshot_create_xml", "VIR_DOMAIN_SNAPSHOT_CREATE_LIVE", 0x100U, 27},
    {"domain_snapshot_create_xml", "VIR_DOMAIN_SNAPSHOT_CREATE_VALIDATE", 0x200U, 27},
    {"domain_revert_to_snapshot", "VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING", 0x1U, 27},
    {"domain_revert_to_snapshot", "VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED", 0x2U, 27},
    {"domain_revert_to_snapshot", "VIR_DOMAIN_SNAPSHOT_REVERT_FORCE", 0x4U, 27},
    {"domain_revert_to_snapshot", "VIR_DOMAIN_SNAPSHOT_REVERT_RESET_NVRAM", 0x8U, 27},
    {"domain_snapshot_delete", "VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN", 0x1U, 27},
    {"domain_snapshot_delete", "VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY", 0x2U, 27},
    {"domain_snapshot_delete", "VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN_ONLY", 0x4U, 27},
    {"domain_core_dump|domain_core_dump_with_format", "VIR_DUMP_CRASH", 0x1U, 9},
    {"domain_core_dump|domain_core_dump_with_format", "VIR_DUMP_LIVE", 0x2U, 9},
    {"domain_core_dump|domain_core_dump_with_format", "VIR_DUMP_BYPASS_CACHE", 0x4U, 9},
    {"domain_core_dump|domain_core_dump_with_format", "VIR_DUMP_RESET", 0x8U, 9},
    {"domain_core_dump|domain_core_dump_with_format", "VIR_DUMP_MEMORY_ONLY", 0x10U, 9},
    {"domain_save_flags|domain_save_params|domain_restore_flags|domain_restore_params|domain_managed_save", "VIR_DOMAIN_SAVE_BYPASS_CACHE", 0x1U, 16},
    {"domain_save_flags|domain_save_params|domain_restore_flags|domain_restore_params|domain_managed_save", "VIR_DOMAIN_SAVE_RUNNING", 0x2U, 16},
    {"domain_save_flags|domain_save_params|domain_restore_flags|domain_restore_params|domain_managed_save", "VIR_DOMAIN_SAVE_PAUSED", 0x4U, 16},
    {"domain_save_flags|domain_save_params|domain_restore_flags|domain_restore_params|domain_managed_save", "VIR_DOMAIN_SAVE_RESET_NVRAM", 0x8U, 16},
    {"domain_attach_device_flags|domain_detach_device_flags|domain_update_device_flags|domain_detach_device_alias", "VIR_DOMAIN_DEVICE_MODIFY_LIVE", 0x1U, 25},
    {"domain_attach_device_flags|domain_detach_device_flags|domain_update_device_flags|domain_detach_device_alias", "VIR_DOMAIN_DEVICE_MODIFY_CONFIG", 0x2U, 25},
    {"domain_attach_device_flags|domain_detach_device_flags|domain_update_device_flags|domain_detach_device_alias", "VIR_DOMAIN_DEVICE_MODIFY_FORCE", 0x4U, 25},
    {"domain_set_vcpus_flags|domain_get_vcpus_flags", "VIR_DOMAIN_VCPU_LIVE", 0x1U, 16},
    {"domain_set_vcpus_flags|domain_get_vcpus_flags", "VIR_DOMAIN_VCPU_CONFIG", 0x2U, 16},
    {"domain_set_vcpus_flags|domain_get_vcpus_flags", "VIR_DOMAIN_VCPU_MAXIMUM", 0x4U, 16},
    {"domain_set_vcpus_flags|domain_get_vcpus_flags", "VIR_DOMAIN_VCPU_GUEST", 0x8U, 16},
    {"domain_set_vcpus_flags|domain_get_vcpus_flags", "VIR_DOMAIN_VCPU_HOTPLUGGABLE", 0x10U, 16},
    {"domain_set_memory_flags|domain_set_metadata|domain_set_memory_parameters|domain_set_blkio_parameters|domain_set_scheduler_parameters_flags|domain_set_block_io_tune|domain_set_numa_parameters|domain_set_interface_parameters|domain_pin_vcpu_flags|domain_pin_emulator|domain_set_vcpu", "VIR_DOMAIN_AFFECT_LIVE", 0x1U, 18},
    {"domain_set_memory_flags|domain_set_metadata|domain_set_memory_parameters|domain_set_blkio_parameters|domain_set_scheduler_parameters_flags|domain_set_block_io_tune|domain_set_numa_parameters|domain_set_interface_parameters|domain_pin_vcpu_flags|domain_pin_emulator|domain_set_vcpu", "VIR_DOMAIN_AFFECT_CONFIG", 0x2U, 18},
    {"domain_open_console", "VIR_DOMAIN_CONSOLE_FORCE", 0x1U, 19},
    {"domain_open_console", "VIR_DOMAIN_CONSOLE_SAFE", 0x2U, 19},
    {"domain_open_channel", "VIR_DOMAIN_CHANNEL_FORCE", 0x1U, 19},
    {"domain_open_graphics|domain_open_graphics_fd", "VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH", 0x1U, 25},
    {"domain_block_rebase", "VIR_DOMAIN_BLOCK_REBASE_SHALLOW", 0x1U, 24},
    {"domain_block_rebase", "VIR_DOMAIN_BLOCK_REBASE_REUSE_EXT", 0x2U, 24},
    {"domain_block_rebase", "VIR_DOMAIN_BLOCK_REBASE_COPY_RAW", 0x4U, 24},
    {"domain_block_rebase", "VIR_DOMAIN_BLOCK_REBASE_COPY", 0x8U, 24},
    {"domain_block_rebase", "VIR_DOMAIN_BLOCK_REBASE_RELATIVE", 0x10U, 24},
    {"domain_block_rebase", "VIR_DOMAIN_BLOCK_REBASE_COPY_DEV", 0x20U, 24},
    {"domain_block_rebase", "VIR_DOMAIN_BLOCK_REBASE_BANDWIDTH_BYTES", 0x40U, 24},
    {"storage_vol_delete", "VIR_STORAGE_VOL_DELETE_ZEROED", 0x1U, 23},
    {"storage_vol_delete", "VIR_STORAGE_VOL_DELETE_WITH_SNAPSHOTS", 0x2U, 23},
    {"storage_vol_resize", "VIR_STORAGE_VOL_RESIZE_ALLOCATE", 0x1U, 23},
    {"storage_vol_resize", "VIR_STORAGE_VOL_RESIZE_DELTA", 0x2U, 23},
    {"storage_vol_resize", "VIR_STORAGE_VOL_RESIZE_SHRINK", 0x4U, 23},
};
// clang-format on

bool is_of(const Row& row, std::string_view procedure) noexcept {
    std::string_view rest = row.procedures;
    while (!rest.empty()) {
        const auto end = rest.find('|');
        std::string_view each = rest.substr(0, end);
        rest = end == rest.npos ? std::string_view{} : rest.substr(end + 1);
        if (each == procedure ||
            (each.ends_with('*') && procedure.starts_with(each.substr(0, each.size() - 1))))
            return true;
    }
    return false;
}

// "VIR_DOMAIN_START_PAUSED" is also "START_PAUSED" and "PAUSED".
bool is_called(const Row& row, std::string_view flag) noexcept {
    constexpr std::string_view k_domain = "VIR_DOMAIN_", k_any = "VIR_";
    const std::string_view start = row.name.starts_with(k_domain) ? k_domain : k_any;
    return flag == row.name || flag == row.name.substr(row.prefix) || flag == row.name.substr(start.size());
}

std::optional<std::uint64_t> parse_bits(std::string_view text) noexcept {
    const bool is_hex = text.starts_with("0x");
    if (is_hex) text.remove_prefix(2);
    std::uint64_t bits = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits, is_hex ? 16 : 10);
    if (error != std::errc{} || end != text.data() + text.size() || bits == 0) return std::nullopt;
    return bits;
}

}  // namespace

std::optional<std::uint64_t> find_flag(std::string_view procedure, std::string_view flag) noexcept {
    if (flag == "*") return ~std::uint64_t{0};
    if (const auto bits = parse_bits(flag)) return bits;
    for (const Row& row : k_rows)
        if (is_of(row, procedure) && is_called(row, flag)) return row.bit;
    return std::nullopt;
}

std::vector<std::string_view> flags_of(std::string_view procedure) {
    std::vector<std::string_view> names;
    for (const Row& row : k_rows)
        if (is_of(row, procedure)) names.push_back(row.name);
    return names;
}

std::string_view name_of_flag(std::string_view procedure, std::uint64_t bit) noexcept {
    for (const Row& row : k_rows)
        if (row.bit == bit && is_of(row, procedure)) return row.name;
    return {};
}

}  // namespace virtgate::policy
