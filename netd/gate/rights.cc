// SPDX-License-Identifier: LGPL-2.1-or-later
// rights - which programs and procedures one session can ever use.
#include "netd/gate/rights.h"

namespace virtgate::netd::gate {

Rights::Rights(const proto::who::Ceiling& ceiling) {
    for (const auto& entry : ceiling.programs) {
        if (const proto::ProgramInfo* known = proto::find_program(entry.program, entry.version))
            rows_.push_back({known, entry.procedures});
    }
}

const proto::ProgramInfo* Rights::find(std::uint32_t program, std::uint32_t version) const noexcept {
    for (const Row& row : rows_)
        if (row.program->number == program && row.program->version == version) return row.program;
    return nullptr;
}

bool Rights::may(const proto::ProgramInfo& program, std::uint32_t procedure) const noexcept {
    for (const Row& row : rows_) {
        if (row.program != &program) continue;
        const std::size_t byte = procedure / 8;
        return byte < row.procedures.size() &&
               (std::to_integer<unsigned>(row.procedures[byte]) >> (procedure % 8) & 1U) != 0;
    }
    return false;
}

}  // namespace virtgate::netd::gate
