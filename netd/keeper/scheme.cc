// SPDX-License-Identifier: LGPL-2.1-or-later
// scheme - the signature schemes that may sign a TLS 1.3 handshake.
#include "netd/keeper/scheme.h"

#include <array>

namespace virtgate::netd::keeper {

namespace {

constexpr std::array k_schemes{
    Scheme{0x0403, GNUTLS_SIGN_ECDSA_SECP256R1_SHA256, GNUTLS_ECC_CURVE_SECP256R1},
    Scheme{0x0503, GNUTLS_SIGN_ECDSA_SECP384R1_SHA384, GNUTLS_ECC_CURVE_SECP384R1},
    Scheme{0x0603, GNUTLS_SIGN_ECDSA_SECP521R1_SHA512, GNUTLS_ECC_CURVE_SECP521R1},
    Scheme{0x0804, GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, GNUTLS_ECC_CURVE_INVALID},
    Scheme{0x0805, GNUTLS_SIGN_RSA_PSS_RSAE_SHA384, GNUTLS_ECC_CURVE_INVALID},
    Scheme{0x0806, GNUTLS_SIGN_RSA_PSS_RSAE_SHA512, GNUTLS_ECC_CURVE_INVALID},
    Scheme{0x0807, GNUTLS_SIGN_EDDSA_ED25519, GNUTLS_ECC_CURVE_INVALID},
    Scheme{0x0808, GNUTLS_SIGN_EDDSA_ED448, GNUTLS_ECC_CURVE_INVALID},
    Scheme{0x0809, GNUTLS_SIGN_RSA_PSS_SHA256, GNUTLS_ECC_CURVE_INVALID},
    Scheme{0x080a, GNUTLS_SIGN_RSA_PSS_SHA384, GNUTLS_ECC_CURVE_INVALID},
    Scheme{0x080b, GNUTLS_SIGN_RSA_PSS_SHA512, GNUTLS_ECC_CURVE_INVALID},
};

}  // namespace

const Scheme* find_scheme(std::uint32_t number) noexcept {
    for (const Scheme& scheme : k_schemes)
        if (scheme.number == number) return &scheme;
    return nullptr;
}

bool fits(const Scheme& scheme, gnutls_pubkey_t key) noexcept {
    const auto algorithm = static_cast<gnutls_pk_algorithm_t>(gnutls_pubkey_get_pk_algorithm(key, nullptr));
    if (gnutls_sign_supports_pk_algorithm(scheme.algorithm, algorithm) == 0) return false;
    // RSA-PSS signatures can be made with either kind of RSA key, but each scheme is for one kind.
    const bool is_pss = algorithm == GNUTLS_PK_RSA_PSS;
    if (is_pss != (scheme.number >= 0x0809 && scheme.number <= 0x080b)) return false;
    if (scheme.curve == GNUTLS_ECC_CURVE_INVALID) return true;
    gnutls_ecc_curve_t curve = GNUTLS_ECC_CURVE_INVALID;
    return gnutls_pubkey_export_ecc_raw2(key, &curve, nullptr, nullptr, 0) >= 0 && curve == scheme.curve;
}

}  // namespace virtgate::netd::keeper
