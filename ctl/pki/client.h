// SPDX-License-Identifier: LGPL-2.1-or-later
// client - what a client's certificate says, as the policy is told of it when that client comes.
//
// It is read by the very function with which doorman reads the certificate of a handshake (libshared/x509). Whether doorman
// would let the certificate in for its issuer, its dates or its purpose is not asked here: "virtgate pki check" tells that.
//
// Trust:  the file may be anybody's; what libshared/x509 refuses is refused here.
// Limits: those of proto/who.x, and of ctl/files.h.
#pragma once

#include <string>

#include "libshared/base/result.h"
#include "proto/who.h"

namespace virtgate::ctl::pki {

// The facts of the first certificate in the PEM file `path`; `chain` stays empty, since no policy speaks of
// it. Error: system's fault, the file has no certificate; peer's fault, with the name that is refused.
[[nodiscard]] Result<proto::who::X509Facts> read_client(const std::string& path);

}  // namespace virtgate::ctl::pki
