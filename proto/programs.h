// SPDX-License-Identifier: LGPL-2.1-or-later
// programs - the programs that libvirt's clients and daemons speak.
//
// Our own control programs are not among them: nobody outside may reach those. Their generated headers have program().
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

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

// Programs of others, whose schemas came as files (programs.d, see libshared/programs). A process learns of them as it
// starts: before anything else of it asks for a program, and before its second thread.

// As many versions of such programs, all together.
inline constexpr std::size_t k_added_max = 12;
// Procedures of such a program have smaller numbers: a policy has a bit for each (proto/who.x).
inline constexpr std::uint32_t k_added_procedure_max = 1024;

// Such programs before anybody has to know them: for whoever reads what is configured.
class ProgramShelf {
public:
    ProgramShelf();
    ~ProgramShelf();
    ProgramShelf(const ProgramShelf&) = delete;
    ProgramShelf& operator=(const ProgramShelf&) = delete;

    // The program of one .schema file in all its versions, newest first, at least one; they live as long as the shelf.
    // Error: what is wrong with it, by itself or beside the others; it is not among them then.
    [[nodiscard]] tl::expected<std::vector<const ProgramInfo*>, std::string> put(
        std::span<const std::byte> schema_file);

private:
    friend class ProgramLists;
    struct Loaded;
    std::vector<std::unique_ptr<Loaded>> loaded_;
    std::vector<const ProgramInfo*> added_;
};

// Learns of the programs of one .schema file, all of its versions. Error: what is wrong with it; nothing has changed then.
[[nodiscard]] tl::expected<void, std::string> add_programs(std::span<const std::byte> schema_file);
// All that were added, the versions of one program side by side, newest first.
[[nodiscard]] std::span<const ProgramInfo* const> added_programs() noexcept;
// True if the program of that number was added.
[[nodiscard]] bool is_added(std::uint32_t number) noexcept;

// Those that a worker carries to a backend: remote, qemu, lxc, and what was added.
[[nodiscard]] std::span<const ProgramInfo* const> relayed_programs();
[[nodiscard]] const ProgramInfo* find_relayed_program(std::uint32_t number, std::uint32_t version) noexcept;

// Those that clients of the front door may speak: these, and lock.
[[nodiscard]] std::span<const ProgramInfo* const> session_programs();
[[nodiscard]] const ProgramInfo* find_session_program(std::uint32_t number, std::uint32_t version) noexcept;

// The one with this number and version among all_programs() and what was added, or null.
[[nodiscard]] const ProgramInfo* find_program(std::uint32_t number, std::uint32_t version) noexcept;

}  // namespace virtgate::proto
