// SPDX-License-Identifier: LGPL-2.1-or-later
// kerberos - the realm that libsasl2 leaves off the names of Kerberos users.
//
// The GSSAPI mechanism calls "alice@EXAMPLE.ORG" just "alice" where EXAMPLE.ORG is the machine's default
// realm. A rule must not mean another person because krb5.conf has changed, or take a Kerberos user for one
// with a password here, so the realm is put back.
//
// Limits: MIT's libkrb5, which the mechanism has loaded already; nothing is loaded here.
// Owns:   nothing.
#pragma once

#include <string>

namespace virtgate::netd::doorman::sasl {

// The default realm. Empty if there is none, or no libkrb5.
[[nodiscard]] std::string find_default_realm();

}  // namespace virtgate::netd::doorman::sasl
