// SPDX-License-Identifier: LGPL-2.1-or-later
// parse_identity - read one [identity.NAME] of a policy file.
//
//     [identity.ops]
//     x509 = { OU = "Operators", issuer = { CN = "Staff CA" }, san_dns = "glob:*.example.org" }
//     sasl = "glob:*@EXAMPLE.ORG"                     # both: a certificate and a login
//     mechanism = ["GSSAPI"]
//     unix = { group = "virt-ops" }
//     source = ["10.20.0.0/16", "2001:db8::/32"]
//     require = { tls = true, client_cert = true, ssf = 128 }
//     any = [ { sasl = "alice" }, { unix = { user = "root" } } ]
//
// All keys of one table have to hold, and of the tables in `any` one. What is not mentioned does not matter.
//
// Trust:  files belong to the administrator. A test that could never hold, or that would hold for everybody,
//         is an error.
// Limits: those of proto/policy.x.
#pragma once

#include "policy/parse_tree.h"
#include "policy/source.h"

namespace virtgate::policy {

// The identity `name`, which `table` describes. What is wrong is told to `reader`; then the result must only
// be used to know that there is such an identity.
[[nodiscard]] IdentitySource parse_identity(const Text& name, const config::Table& table, TreeReader& reader);

}  // namespace virtgate::policy
