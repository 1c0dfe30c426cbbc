// SPDX-License-Identifier: LGPL-2.1-or-later
// words - procedures, flags, objects and times as a policy writes them.
//
// What is said here can be copied into a policy file, or onto a command line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ctl/audit/entry.h"
#include "proto/policy.h"
#include "proto/program.h"

namespace virtgate::ctl::policy {

// "remote.DOMAIN_CREATE"
[[nodiscard]] std::string say_procedure(const proto::ProgramInfo& program,
                                        const proto::ProcedureInfo& procedure);

// "START_PAUSED,0x100": libvirt's names for the bits where they are known, without the part that all have;
// "*" for all bits. Empty for none.
[[nodiscard]] std::string say_flags(std::string_view procedure, std::uint64_t bits);

// "domain=glob:web-*", not escaped.
[[nodiscard]] std::string say_pattern(const proto::policy::ObjectPattern& pattern);

// "denied": how a role says how much is recorded.
[[nodiscard]] std::string_view say_audit(proto::policy::AuditLevel level) noexcept;

// Seconds since 1970 as "2026-12-31T18:00:00Z".
[[nodiscard]] std::string say_time(std::int64_t seconds);
[[nodiscard]] std::string say_moment(audit::Moment moment);

}  // namespace virtgate::ctl::policy
