// SPDX-License-Identifier: LGPL-2.1-or-later
// programs - the programs that libvirt's clients and daemons speak.
#include "proto/programs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

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

namespace {

using Programs = std::vector<const ProgramInfo*>;

// Our own control programs begin with "VG", libvirt's all with the same three bytes.
constexpr std::uint32_t k_own_first = 0x56470000, k_own_last = 0x5647ffff;

const ProgramInfo* find(std::span<const ProgramInfo* const> programs, std::uint32_t number,
                        std::uint32_t version) noexcept {
    for (const ProgramInfo* program : programs)
        if (program->number == number && program->version == version) return program;
    return nullptr;
}

// Objects are libvirt's: only there would a worker find out what one is called.
bool names_objects(const ProcedureInfo& procedure) noexcept {
    return !procedure.objects.empty() || !procedure.returns.empty() || !procedure.keys.empty() ||
           !procedure.filters.empty();
}

std::string find_fault(const ProgramInfo& program, std::span<const ProgramInfo* const> others) {
    const auto is_like = [&](const ProgramInfo* other) {
        return other->name == program.name || other->number == program.number;
    };
    if (program.procedures().empty()) return fmt::format("version {} has no procedure", program.version);
    if (std::any_of(all_programs().begin(), all_programs().end(), is_like))
        return fmt::format("the name \"{}\" or the number {:#x} is libvirt's", program.name, program.number);
    if (program.number >= k_own_first && program.number <= k_own_last)
        return fmt::format("the number {:#x} is one of virtgate's own", program.number);
    if (std::any_of(others.begin(), others.end(), is_like))
        return fmt::format("another program has the name \"{}\" or the number {:#x}", program.name,
                           program.number);
    for (const ProcedureInfo& procedure : program.procedures()) {
        if (procedure.number >= k_added_procedure_max)
            return fmt::format("{} has number {}; there is room up to {}", procedure.name, procedure.number,
                               k_added_procedure_max - 1);
        if (procedure.internal) return "it is @internal: nobody could be given rights for it";
        if (procedure.before_auth) return fmt::format("{} is @unauthenticated", procedure.name);
        if (procedure.fds_call_max != 0 || procedure.fds_reply_max != 0)
            return fmt::format("{} passes descriptors, which only libvirt's programs can", procedure.name);
        if (names_objects(procedure))
            return fmt::format("{} names objects of libvirt's, which its process does not have",
                               procedure.name);
    }
    return {};
}

}  // namespace

struct ProgramShelf::Loaded {
    explicit Loaded(Schema from) : schema(std::move(from)) {}
    Schema schema;
    std::vector<std::unique_ptr<ProgramInfo>> versions{};
};

ProgramShelf::ProgramShelf() = default;
ProgramShelf::~ProgramShelf() = default;

tl::expected<std::vector<const ProgramInfo*>, std::string> ProgramShelf::put(
    std::span<const std::byte> schema_file) {
    auto schema = Schema::load(schema_file);
    if (!schema) return tl::make_unexpected(std::move(schema.error()));
    auto loaded = std::make_unique<Loaded>(std::move(*schema));
    const std::uint32_t versions = loaded->schema.count(layout::Section::programs);
    if (versions == 0) return tl::make_unexpected(std::string("there is no program in it"));
    if (added_.size() + versions > k_added_max)
        return tl::make_unexpected(
            fmt::format("with it there are more than {} versions of programs", k_added_max));
    std::vector<const ProgramInfo*> made;
    for (std::uint32_t row = 0; row < versions; ++row) {
        const auto& version =
            loaded->versions.emplace_back(std::make_unique<ProgramInfo>(loaded->schema, row));
        if (std::string fault = find_fault(*version, added_); !fault.empty())
            return tl::make_unexpected(std::move(fault));
        version->set_added();
        made.push_back(version.get());
    }
    added_.insert(added_.end(), made.begin(), made.end());
    loaded_.push_back(std::move(loaded));
    return made;
}

// What is asked for with every frame is one list each, made anew when something is added.
class ProgramLists {
public:
    ProgramShelf shelf{};
    Programs relayed{}, session{}, all{};

    ProgramLists() { join(); }
    [[nodiscard]] const Programs& added() const noexcept { return shelf.added_; }
    void join() {
        relayed.assign(hypervisor_programs().begin(), hypervisor_programs().end());
        session = relayed;
        session.push_back(&lock_program());
        all.assign(all_programs().begin(), all_programs().end());
        for (Programs* list : {&relayed, &session, &all})
            list->insert(list->end(), added().begin(), added().end());
    }
};

namespace {

ProgramLists& lists() {
    static ProgramLists k_lists;
    return k_lists;
}

}  // namespace

tl::expected<void, std::string> add_programs(std::span<const std::byte> schema_file) {
    if (const auto put = lists().shelf.put(schema_file); !put) return tl::make_unexpected(put.error());
    lists().join();
    return {};
}

std::span<const ProgramInfo* const> added_programs() noexcept { return lists().added(); }

bool is_added(std::uint32_t number) noexcept {
    const auto& added = lists().added();
    return std::any_of(added.begin(), added.end(),
                       [number](const ProgramInfo* program) { return program->number == number; });
}

std::span<const ProgramInfo* const> relayed_programs() { return lists().relayed; }
std::span<const ProgramInfo* const> session_programs() { return lists().session; }

const ProgramInfo* find_program(std::uint32_t number, std::uint32_t version) noexcept {
    return find(lists().all, number, version);
}

const ProgramInfo* find_session_program(std::uint32_t number, std::uint32_t version) noexcept {
    return find(lists().session, number, version);
}

const ProgramInfo* find_relayed_program(std::uint32_t number, std::uint32_t version) noexcept {
    return find(lists().relayed, number, version);
}

}  // namespace virtgate::proto
