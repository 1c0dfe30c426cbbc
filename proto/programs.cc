// SPDX-License-Identifier: LGPL-2.1-or-later
// programs - the programs that libvirt's clients and daemons speak.
#include "proto/programs.h"

#include <array>

#include "proto/admin.h"
#include "proto/keepalive.h"
#include "proto/lock.h"
#include "proto/log.h"
#include "proto/lxc.h"
#include "proto/qemu.h"
#include "proto/remote.h"

namespace virtgate::proto {

const ProgramInfo& remote_program() { return remote::program(); }
const ProgramInfo& qemu_program() { return qemu::program(); }
const ProgramInfo& lxc_program() { return lxc::program(); }
const ProgramInfo& admin_program() { return admin::program(); }
const ProgramInfo& lock_program() { return lock::program(); }
const ProgramInfo& log_program() { return log::program(); }
const ProgramInfo& keepalive_program() { return keepalive::program(); }

std::span<const ProgramInfo* const> all_programs() {
    static const std::array k_programs{&remote_program(),   &qemu_program(), &lxc_program(),
                                       &admin_program(),    &lock_program(), &log_program(),
                                       &keepalive_program()};
    return k_programs;
}

std::span<const ProgramInfo* const> hypervisor_programs() { return all_programs().first(3); }

std::span<const ProgramInfo* const> session_programs() {
    static const std::array k_programs{&remote_program(), &qemu_program(), &lxc_program(), &lock_program()};
    return k_programs;
}

namespace {

const ProgramInfo* find(std::span<const ProgramInfo* const> programs, std::uint32_t number,
                        std::uint32_t version) noexcept {
    for (const ProgramInfo* program : programs)
        if (program->number == number && program->version == version) return program;
    return nullptr;
}

}  // namespace

const ProgramInfo* find_program(std::uint32_t number, std::uint32_t version) noexcept {
    return find(all_programs(), number, version);
}

const ProgramInfo* find_session_program(std::uint32_t number, std::uint32_t version) noexcept {
    return find(session_programs(), number, version);
}

const ProgramInfo* find_hypervisor_program(std::uint32_t number, std::uint32_t version) noexcept {
    return find(hypervisor_programs(), number, version);
}

}  // namespace virtgate::proto
