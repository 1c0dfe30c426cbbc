// SPDX-License-Identifier: LGPL-2.1-or-later
// x509_own - look at the server's own certificate before it is used.
//
// A certificate that clients will refuse is found late and by somebody else; so it is judged when it is loaded, and a
// reload with a bad one changes nothing.
//
// Trust:  the files are the administrator's.
#pragma once

#include "netd/doorman/x509.h"

namespace virtgate::netd::doorman {

// Judges the chain in `certificates` (PEM, the server's own first): it is in order, every date is good now, the first
// is no CA's and has a name. `warnings` gets what libvirt's clients are known to refuse: a key usage without
// digitalSignature or keyEncipherment, a purpose without serverAuth, a chain that does not end at `authorities`.
// Error: system's fault, with the rule.
Done judge_own(std::string_view certificates, const Authorities& authorities,
               std::vector<std::string>& warnings);

}  // namespace virtgate::netd::doorman
