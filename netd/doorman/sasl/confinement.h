// SPDX-License-Identifier: LGPL-2.1-or-later
// confinement - what virtgate-sasl keeps: the user database, the keytab, what Kerberos reads; and its children less.
//
// Source: libshared/confine/plan.h has the steps; the calls were observed under load and are compared with what the test
//         suites make (scripts/observed-calls).
#pragma once

#include "libshared/confine/plan.h"
#include "proto/config.h"

namespace virtgate::netd::doorman::sasl {

// What virtgate-sasl keeps. What it knows comes from `config`.
[[nodiscard]] confine::Plan make_plan(const proto::config::SaslConfig& config);

// The calls of the process of one exchange, which are fewer: it makes no process. Its filter comes after the other one.
[[nodiscard]] std::vector<std::span<const confine::Row>> exchange_rows();

}  // namespace virtgate::netd::doorman::sasl
