// SPDX-License-Identifier: LGPL-2.1-or-later
// names - the names in a certificate, as values that a policy can be matched against.
//
// The one reading of a certificate: doorman judges a client by it, and "virtgate policy explain --cert" tells with it what
// doorman will judge.
//
// A name is never taken apart or put together as text: each attribute is decoded by itself, so a value such
// as "x,CN=admin" stays the one value that it is.
//
// Trust:  whoever made the file or the handshake; behind doorman's checks, the CA decided to sign these names, but a careless CA signs anything: a value that is not UTF-8
//         (after decoding), contains NUL or a control character, or is too long is refused, since it could be
//         read in two ways.
// Limits: those of proto/who.x.
#pragma once

#include <gnutls/x509.h>

#include <string>

#include "libshared/base/result.h"
#include "proto/who.h"

namespace virtgate::x509 {

// Fills `facts` with all that is said in the certificate itself; the chain is the caller's. Error: peer's fault, with
// the name that is refused.
Done read_names(gnutls_x509_crt_t certificate, proto::who::X509Facts& facts);

// The subject in one line for a log, escaped; also of a certificate that was refused.
[[nodiscard]] std::string describe_subject(gnutls_x509_crt_t certificate);

}  // namespace virtgate::x509
