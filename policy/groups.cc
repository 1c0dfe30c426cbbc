// SPDX-License-Identifier: LGPL-2.1-or-later
// groups - the built-in groups of procedures that a role can allow.
#include "policy/groups.h"

#include <algorithm>
#include <array>

#include "policy/group_table.h"
#include "policy/touch.h"
#include "proto/programs.h"

namespace virtgate::policy {

namespace {

using proto::ProcedureInfo;
using proto::ProgramInfo;

std::array<const ProgramInfo*, 3> programs() {
    return {&proto::remote_program(), &proto::qemu_program(), &proto::lxc_program()};
}

}  // namespace

bool visit_group(std::string_view name, bool passthrough, const VisitGroup& visit) {
    if (name == k_admin_group) {
        for (const ProgramInfo* program : programs())
            for (const ProcedureInfo& procedure : program->procedures())
                if (!is_denied_for_good(*program, procedure) &&
                    (passthrough || !is_passthrough(*program, procedure)))
                    visit(*program, procedure, 0);
        return true;
    }
    for (const GroupName& group : group_names()) {
        if (group.name != name) continue;
        // The program lock is for those who say so: it is not in @admin either.
        if (group.group == k_locks) {
            const ProgramInfo& program = proto::lock_program();
            for (const ProcedureInfo& procedure : program.procedures()) visit(program, procedure, 0);
            return true;
        }
        // All others are of the program remote; a row of another program is in none.
        for (const GroupRow& row : group_table())
            if ((row.groups & group.group) != 0)
                if (const ProcedureInfo* procedure = proto::remote_program().find(row.procedure))
                    visit(proto::remote_program(), *procedure, row.forbidden);
        return true;
    }
    return false;
}

const std::vector<std::string_view>& known_groups() {
    static const std::vector<std::string_view> k_names = [] {
        std::vector<std::string_view> names{k_admin_group};
        for (const GroupName& group : group_names()) names.push_back(group.name);
        return names;
    }();
    return k_names;
}

void add_to(proto::who::Ceiling& ceiling, const ProgramInfo& program, std::uint32_t procedure) {
    auto entry = std::find_if(ceiling.programs.begin(), ceiling.programs.end(), [&](const auto& each) {
        return each.program == program.number && each.version == program.version;
    });
    if (entry == ceiling.programs.end())
        entry = ceiling.programs.insert(
            entry, {.program = program.number, .version = program.version, .procedures = {}});
    if (entry->procedures.size() <= procedure / 8) entry->procedures.resize(procedure / 8 + 1);
    entry->procedures[procedure / 8] |= std::byte{1} << (procedure % 8);
}

bool has_flags_argument(const ProgramInfo& program, const ProcedureInfo& procedure) {
    using proto::layout::Section;
    if (procedure.args == proto::k_void) return false;
    const std::uint32_t* type = program.schema.row(Section::types, procedure.args);
    if (static_cast<proto::layout::Kind>(type[0] & 0xff) != proto::layout::Kind::structure) return false;
    for (std::uint32_t i = 0; i < type[4]; ++i)
        if (program.schema.text(program.schema.row(Section::fields, type[3] + i)[1]) == "flags") return true;
    return false;
}

}  // namespace virtgate::policy
