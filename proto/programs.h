// SPDX-License-Identifier: LGPL-2.1-or-later
// programs - the programs that libvirt's clients and daemons speak.
//
// Our own control programs are not among them: nobody outside may reach those. Their generated headers have program().
#pragma once

#include <span>

#include "proto/program.h"

namespace virtgate::proto {

[[nodiscard]] const ProgramInfo& remote_program();
[[nodiscard]] const ProgramInfo& qemu_program();
[[nodiscard]] const ProgramInfo& lxc_program();
[[nodiscard]] const ProgramInfo& admin_program();
[[nodiscard]] const ProgramInfo& lock_program();
[[nodiscard]] const ProgramInfo& log_program();
[[nodiscard]] const ProgramInfo& keepalive_program();

// All of the above, in this order.
[[nodiscard]] std::span<const ProgramInfo* const> all_programs();

// Those that a libvirt daemon serves on the connections of its ordinary clients: remote, qemu, lxc.
[[nodiscard]] std::span<const ProgramInfo* const> hypervisor_programs();
[[nodiscard]] const ProgramInfo* find_hypervisor_program(std::uint32_t number,
                                                         std::uint32_t version) noexcept;

// Those that clients of the front door may speak: these, and lock.
[[nodiscard]] std::span<const ProgramInfo* const> session_programs();
[[nodiscard]] const ProgramInfo* find_session_program(std::uint32_t number, std::uint32_t version) noexcept;

// The one with this number and version among all_programs(), or null.
[[nodiscard]] const ProgramInfo* find_program(std::uint32_t number, std::uint32_t version) noexcept;

}  // namespace virtgate::proto
