// SPDX-License-Identifier: LGPL-2.1-or-later
// rights - may this session make this call?
#include "workerd/worker/rights.h"

#include <utility>

#include "workerd/worker/remote.h"

namespace virtgate::workerd::worker {

namespace {

// Never, whatever a policy says: whoever may set the identity can claim to be anybody towards libvirt.
bool is_forbidden(const rpc::Header& header) noexcept {
    return is(header, proto::remote::Procedure::connect_set_identity);
}

}  // namespace

Rights::Rights(proto::who::Ceiling ceiling) noexcept : ceiling_(std::move(ceiling)) {}

const proto::who::ProgramCeiling* Rights::find(const rpc::Header& header) const noexcept {
    for (const proto::who::ProgramCeiling& program : ceiling_.programs)
        if (program.program == header.program && program.version == header.version) return &program;
    return nullptr;
}

bool Rights::reaches(const rpc::Header& header) const noexcept {
    const proto::who::ProgramCeiling* program = find(header);
    const std::size_t byte = header.procedure / 8;
    return program != nullptr && byte < program->procedures.size() &&
           (std::to_integer<unsigned>(program->procedures[byte]) >> (header.procedure % 8) & 1) != 0;
}

Verdict Rights::judge(const rpc::Header& header, ByteView) const noexcept {
    if (is_forbidden(header))
        return {.allowed = false, .reason = "access denied: a client cannot set its identity"};
    if (!reaches(header))
        return {.allowed = false, .reason = "access denied: the policy does not allow this call"};
    return {.allowed = true};
}

}  // namespace virtgate::workerd::worker
