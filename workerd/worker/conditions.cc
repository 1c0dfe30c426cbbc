// SPDX-License-Identifier: LGPL-2.1-or-later
// conditions - what a call needs besides the policy's permission.
#include "workerd/worker/conditions.h"

#include <fmt/format.h>

#include <algorithm>

#include "libshared/rpc/error.h"

namespace virtgate::workerd::worker {

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

Verdict judge_reading(const proto::ProgramInfo& program, const proto::ProcedureInfo& procedure,
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
