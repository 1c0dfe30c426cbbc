// SPDX-License-Identifier: LGPL-2.1-or-later
// x509_proof - check that whoever took part in a handshake holds the private key of the certificate it
// showed.
//
// Trust:  transcript and signature come from a gate that may be taken over; the signature is what it cannot
//         make.
// Source: RFC 8446 sections 4.4.1 (transcript hash) and 4.4.3 (what is signed).
#pragma once

#include "netd/doorman/handshake.h"
#include "netd/doorman/x509.h"

namespace virtgate::netd::doorman {

// What a CertificateVerify of the client covers at the end of `handshake.transcript`.
Result<ByteVector> client_signed_content(const Handshake& handshake);

// Succeeds if `verify` is the signature of `leaf`'s key over `handshake`, made as a TLS 1.3 client with a
// scheme that fits the key. Error: peer's fault.
Done check_proof(const Handshake& handshake, const CertificateVerify& verify, gnutls_x509_crt_t leaf);

}  // namespace virtgate::netd::doorman
