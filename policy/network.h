// SPDX-License-Identifier: LGPL-2.1-or-later
// network - address ranges in the notation ADDRESS/PREFIX, and whether an address lies in one.
//
// Trust:  ranges come from the administrator, addresses from doorman, who has them from a gate; what is no
//         numeric address lies in no range.
// Limits: comparing allocates nothing.
// Source: RFC 4632 and RFC 4291. An IPv4 address is never written as an IPv6 one (::ffff:192.0.2.7) here: a
//         client would then have two addresses, and a rule could mean only one of them.
#pragma once

#include <string_view>
#include <vector>

#include "libshared/base/result.h"
#include "proto/policy.h"

namespace virtgate::policy {

// The range that `text` describes; without a prefix it is one address. Error: peer's fault, with what is
// wrong in words that suit the administrator.
[[nodiscard]] Result<proto::policy::Network> parse_network(std::string_view text);

// The usual notation of the numeric address `text`; empty if it is none.
[[nodiscard]] std::string canonical_address(std::string_view text);

// True if `address` is a numeric address in one of `networks`.
[[nodiscard]] bool lies_in_one(std::string_view address,
                               const std::vector<proto::policy::Network>& networks) noexcept;

}  // namespace virtgate::policy
