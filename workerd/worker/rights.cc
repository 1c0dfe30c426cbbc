// SPDX-License-Identifier: LGPL-2.1-or-later
// rights - may this session make this call?
#include "workerd/worker/rights.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "libshared/rpc/error.h"
#include "workerd/worker/remote.h"

namespace virtgate::workerd::worker {

namespace {

// Never, whatever a policy says: whoever may set the identity can claim to be anybody towards libvirt.
bool is_forbidden(const rpc::Header& header) noexcept {
    return is(header, proto::remote::Procedure::connect_set_identity);
}

Verdict deny(std::string_view reason) {
    return {.allowed = false,
            .code = rpc::k_code_access_denied,
            .domain = rpc::k_domain_access,
            .reason = std::string(reason)};
}

}  // namespace

Verdict judge_fds(const proto::ProcedureInfo& procedure, std::size_t fds, bool is_local) {
    if (procedure.fds_call_max == 0 && procedure.fds_reply_min == 0 && fds == 0) return {};
    const auto refuse = [](int code, std::string reason) {
        return Verdict{
            .allowed = false, .code = code, .domain = rpc::k_domain_rpc, .reason = std::move(reason)};
    };
    if (!is_local && (procedure.fds_call_min != 0 || procedure.fds_reply_min != 0))
        return refuse(rpc::k_code_no_support,
                      fmt::format("{} passes file descriptors, which this client cannot", procedure.name));
    if (fds >= procedure.fds_call_min && fds <= procedure.fds_call_max) return {};
    if (procedure.fds_call_max == 0)
        return refuse(rpc::k_code_invalid_argument,
                      fmt::format("{} takes no file descriptors", procedure.name));
    return refuse(rpc::k_code_invalid_argument,
                  fmt::format("{} takes {} to {} file descriptors, not {}", procedure.name,
                              procedure.fds_call_min, procedure.fds_call_max, fds));
}

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

Verdict Rights::judge(const rpc::Header& header, ByteView) const {
    if (is_forbidden(header)) return deny("access denied: a client cannot set its identity");
    if (!reaches(header)) return refuse();
    return {};
}

Verdict Rights::refuse() { return deny("access denied: the policy does not allow this call"); }

Verdict Rights::judge_reading(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure,
                              ByteView payload) {
    const auto holds = [&](const proto::Test& test) {
        const proto::Found found = proto::locate(program.schema, procedure.args, payload, test.steps, {});
        // All integers that are tested have one word.
        return found.present && test.holds(load_be32(payload.data() + found.offset));
    };
    const bool refused =
        procedure.readonly == proto::ReadOnly::refused ||
        (procedure.readonly == proto::ReadOnly::conditional &&
         std::any_of(procedure.readonly_tests.begin(), procedure.readonly_tests.end(), holds));
    if (!refused) return {};
    return {.allowed = false,
            .code = rpc::k_code_operation_denied,
            .domain = rpc::k_domain_rpc,
            .reason = fmt::format("operation forbidden: read only access prevents {}", procedure.name)};
}

}  // namespace virtgate::workerd::worker
