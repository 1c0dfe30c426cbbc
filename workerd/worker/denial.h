// SPDX-License-Identifier: LGPL-2.1-or-later
// denial - how a refusal is told: to the client, and to the log.
//
// Trust:  nothing that a client sent is in these texts but what libvirt would repeat, too.
// Limits: pure.
#pragma once

#include <string>
#include <string_view>

#include "libshared/rpc/header.h"
#include "policy/rights.h"
#include "proto/net.h"
#include "proto/program.h"

namespace virtgate::workerd::worker {

// libvirt's error with that code and domain (rpc/error.h) and `text` as its message.
[[nodiscard]] proto::net::Error make_error(int code, int domain, std::string_view text);

// The error for a call of `procedure` that was decided against: "access denied: no role allows domain_destroy".
[[nodiscard]] proto::net::Error denial(const policy::Decision& decision,
                                       const proto::ProcedureInfo& procedure);

// The same for the log, with the rule: "domain_destroy: deny-rule, role operator at 20-roles.toml:12".
[[nodiscard]] std::string log_of(const policy::Decision& decision, const proto::ProcedureInfo& procedure);

// The whole frame that answers `call` with `error`.
[[nodiscard]] ByteVector error_frame(const rpc::Header& call, const proto::net::Error& error);

}  // namespace virtgate::workerd::worker
