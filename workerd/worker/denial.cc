// SPDX-License-Identifier: LGPL-2.1-or-later
// denial - how a refusal is told.
#include "workerd/worker/denial.h"

#include <fmt/format.h>

#include "libshared/base/result.h"
#include "libshared/rpc/error.h"
#include "proto/codec.h"

namespace virtgate::workerd::worker {

using policy::Decision;
using policy::Reason;
using proto::ProcedureInfo;

namespace {

std::string words_of(const Decision& decision, const ProcedureInfo& procedure) {
    const std::string_view name = procedure.name;
    switch (decision.reason) {
        case Reason::denied_by_rule:
            return decision.grant != nullptr
                       ? fmt::format("role \"{}\" denies {}", decision.grant->role, name)
                       : fmt::format("a rule denies {}", name);
        case Reason::object: return fmt::format("no role allows {} on this object", name);
        case Reason::flag: return fmt::format("no role allows {} with these flags", name);
        case Reason::hard_denied: return fmt::format("nobody may call {}", name);
        case Reason::limit: return fmt::format("a limit does not allow {}", name);
        case Reason::constraint:
            return decision.misfit ? fmt::format("no role allows {}: {}", name, describe(decision.misfit))
                                   : fmt::format("no role allows {} at this time", name);
        case Reason::no_binding:
        case Reason::allowed: break;
    }
    return fmt::format("no role allows {}", name);
}

}  // namespace

proto::net::Error make_error(int code, int domain, std::string_view text) {
    proto::net::Error error;
    error.code = code;
    error.domain = domain;
    error.level = 2;
    error.message = error.str2 = std::string(text);
    error.str1 = "%s";
    error.int1 = error.int2 = -1;
    return error;
}

std::string log_of(const Decision& decision, const ProcedureInfo& procedure) {
    std::string text = fmt::format("{}: {}", procedure.name, to_text(decision.reason));
    if (decision.grant != nullptr)
        text += fmt::format(", role {} at {}:{}", decision.grant->role, decision.grant->file,
                            decision.grant->line);
    if (decision.misfit) text += fmt::format(", {}", describe(decision.misfit));
    return text;
}

proto::net::Error denial(const Decision& decision, const ProcedureInfo& procedure) {
    return make_error(rpc::k_code_access_denied, rpc::k_domain_access,
                      "access denied: " + words_of(decision, procedure));
}

ByteVector error_frame(const rpc::Header& call, const proto::net::Error& error) {
    const auto payload = proto::encode(error);
    require(payload.has_value(), "an error does not encode");
    return rpc::make_frame(rpc::reply_to(call, rpc::Status::error), *payload);
}

}  // namespace virtgate::workerd::worker
