// SPDX-License-Identifier: LGPL-2.1-or-later
// group_table - which procedure is in which built-in group: the reviewed list.
//
// libvirt says of each procedure which permissions it needs, and whether readers may call it. Twice that was wrong and
// became a security hole, so the groups do not follow from it: every procedure has been looked at, and where this list
// differs from what libvirt says, it has the reason. A procedure that is not in here is in no group but @admin, and a
// test fails until it has been looked at.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "proto/program.h"

namespace virtgate::policy {

// Groups, one bit each.
using GroupMask = std::uint32_t;
inline constexpr GroupMask k_connect_basic = 1U << 0;
inline constexpr GroupMask k_keepalive = 1U << 1;
inline constexpr GroupMask k_read_domain = 1U << 2;
inline constexpr GroupMask k_read_host = 1U << 3;
inline constexpr GroupMask k_read_storage = 1U << 4;
inline constexpr GroupMask k_read_net = 1U << 5;
inline constexpr GroupMask k_read_only = 1U << 6;
inline constexpr GroupMask k_events = 1U << 7;
inline constexpr GroupMask k_lifecycle = 1U << 8;
inline constexpr GroupMask k_console = 1U << 9;
inline constexpr GroupMask k_graphics = 1U << 10;
inline constexpr GroupMask k_snapshot = 1U << 11;
inline constexpr GroupMask k_storage_write = 1U << 12;
inline constexpr GroupMask k_define = 1U << 13;
inline constexpr GroupMask k_migrate_source = 1U << 14;
inline constexpr GroupMask k_migrate_destination = 1U << 15;
inline constexpr GroupMask k_locks = 1U << 16;

struct GroupRow {
    std::string_view procedure;  // of the program remote; of others with the program: "qemu.domain_attach"
    GroupMask groups;            // 0: in @admin only
    std::uint64_t forbidden;     // flags with which these groups do not allow it
    std::string_view reason;     // why that is not what libvirt's annotations say, or a remark
};

// By program and number. A procedure may have several rows, with different flags for different groups.
[[nodiscard]] std::span<const GroupRow> group_table() noexcept;

struct GroupName {
    std::string_view name;  // "@read-only"
    GroupMask group;
};
[[nodiscard]] std::span<const GroupName> group_names() noexcept;

// Why who may call a procedure is as good as root.
struct Danger {
    std::string_view procedure;   // as in GroupRow, or what it begins with, before a "*"
    std::string_view permission;  // libvirt's word for what allows it: "domain:write"
    std::string_view power;       // what that lets somebody do: "name any host file"
};
// The row of the procedure in a list that begins with the plainest; null if it is not dangerous.
[[nodiscard]] const Danger* danger_of(const proto::ProgramInfo& program,
                                      const proto::ProcedureInfo& procedure) noexcept;

}  // namespace virtgate::policy
