// SPDX-License-Identifier: LGPL-2.1-or-later
// groups - sets of procedures that a role can allow.
#include "policy/groups.h"

#include <algorithm>

#include "proto/programs.h"

namespace virtgate::policy {

namespace {

using proto::ProcedureInfo;
using proto::ProgramInfo;

constexpr std::string_view k_admin = "@admin";

bool is_denied_for_good(const ProgramInfo& program, const ProcedureInfo& procedure) noexcept {
    return procedure.before_auth ||
           (&program == &proto::remote_program() && procedure.name == "connect_set_identity");
}

void allow(proto::who::Ceiling& ceiling, const ProgramInfo& program, std::uint32_t procedure) {
    auto entry = std::find_if(ceiling.programs.begin(), ceiling.programs.end(), [&](const auto& each) {
        return each.program == program.number && each.version == program.version;
    });
    if (entry == ceiling.programs.end())
        entry = ceiling.programs.insert(
            entry, {.program = program.number, .version = program.version, .procedures = {}});
    if (entry->procedures.size() <= procedure / 8) entry->procedures.resize(procedure / 8 + 1);
    entry->procedures[procedure / 8] |= std::byte{1} << (procedure % 8);
}

}  // namespace

bool add_group(std::string_view name, proto::who::Ceiling& ceiling) {
    if (name != k_admin) return false;
    for (const ProgramInfo* program :
         {&proto::remote_program(), &proto::qemu_program(), &proto::lxc_program()})
        for (const ProcedureInfo& procedure : program->procedures())
            if (procedure.kind == ProcedureInfo::Kind::call && !is_denied_for_good(*program, procedure))
                allow(ceiling, *program, procedure.number);
    return true;
}

const std::vector<std::string_view>& known_groups() {
    static const std::vector<std::string_view> k_names{k_admin};
    return k_names;
}

}  // namespace virtgate::policy
