// SPDX-License-Identifier: LGPL-2.1-or-later
// scheme - the signature schemes that may sign a TLS 1.3 handshake.
//
// Shared by keeper, which makes such signatures, and doorman, which checks those of clients.
//
// Source: RFC 8446 section 4.2.3. RSA PKCS#1, SHA-1 and DSA are not among them: they may not sign handshakes.
#pragma once

#include <gnutls/abstract.h>

#include <cstdint>

namespace virtgate::netd::keeper {

struct Scheme {
    std::uint16_t number;               // as on the wire
    gnutls_sign_algorithm_t algorithm;  // as GnuTLS calls it
    gnutls_ecc_curve_t curve;  // that an ECDSA key has to be on; GNUTLS_ECC_CURVE_INVALID for other keys
};

// The scheme with this number; null if it is not one of TLS 1.3.
[[nodiscard]] const Scheme* find_scheme(std::uint32_t number) noexcept;

// True if `key` can be used with `scheme`: an RSA key for rsa_pss_rsae, an RSA-PSS key for rsa_pss_pss, an
// ECDSA key on the scheme's own curve, an Edwards key for its scheme.
[[nodiscard]] bool fits(const Scheme& scheme, gnutls_pubkey_t key) noexcept;

}  // namespace virtgate::netd::keeper
