// SPDX-License-Identifier: LGPL-2.1-or-later
// credentials - the server's certificate, and a private key that is somewhere else.
#include "netd/gate/tls/credentials.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "libshared/base/bytes.h"
#include "libshared/base/log.h"
#include "netd/gate/tls/signer.h"

namespace virtgate::netd::gate {

namespace {

thread_local const SigningContext* t_context = nullptr;

struct Scheme {
    gnutls_sign_algorithm_t algorithm;
    std::uint16_t code;
};

// IANA's TLS SignatureScheme numbers of what TLS 1.3 allows in a CertificateVerify. GnuTLS names some of them in
// two ways, with and without the curve.
constexpr std::array k_schemes{
    Scheme{GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, 0x0804},    Scheme{GNUTLS_SIGN_RSA_PSS_RSAE_SHA384, 0x0805},
    Scheme{GNUTLS_SIGN_RSA_PSS_RSAE_SHA512, 0x0806},    Scheme{GNUTLS_SIGN_RSA_PSS_SHA256, 0x0809},
    Scheme{GNUTLS_SIGN_RSA_PSS_SHA384, 0x080a},         Scheme{GNUTLS_SIGN_RSA_PSS_SHA512, 0x080b},
    Scheme{GNUTLS_SIGN_ECDSA_SECP256R1_SHA256, 0x0403}, Scheme{GNUTLS_SIGN_ECDSA_SECP384R1_SHA384, 0x0503},
    Scheme{GNUTLS_SIGN_ECDSA_SECP521R1_SHA512, 0x0603}, Scheme{GNUTLS_SIGN_ECDSA_SHA256, 0x0403},
    Scheme{GNUTLS_SIGN_ECDSA_SHA384, 0x0503},           Scheme{GNUTLS_SIGN_ECDSA_SHA512, 0x0603},
    Scheme{GNUTLS_SIGN_EDDSA_ED25519, 0x0807},          Scheme{GNUTLS_SIGN_EDDSA_ED448, 0x0808},
};

}  // namespace

const SigningContext* set_signing_context(const SigningContext* context) noexcept {
    return std::exchange(t_context, context);
}

// GnuTLS calls these from within gnutls_handshake(). `key_info` is the Credentials' KeyInfo.
struct KeyCallbacks {
    static int sign(void* key_info, gnutls_sign_algorithm_t algorithm, gnutls_datum_t* signature) noexcept {
        const auto* info = static_cast<const Credentials::KeyInfo*>(key_info);
        const auto* scheme = std::find_if(k_schemes.begin(), k_schemes.end(),
                                          [&](const Scheme& s) { return s.algorithm == algorithm; });
        if (scheme == k_schemes.end() || t_context == nullptr)
            return GNUTLS_E_UNSUPPORTED_SIGNATURE_ALGORITHM;
        try {
            const ByteVector hash = t_context->transcript_hash();
            const auto made = info->signer->ask_sign(scheme->code, hash);
            if (!made) {
                Log{"tls"}.error("no signature for a handshake: {}", made.error().text);
                return GNUTLS_E_PK_SIGN_FAILED;
            }
            auto* copy = static_cast<unsigned char*>(gnutls_malloc(made->size()));
            if (copy == nullptr) return GNUTLS_E_MEMORY_ERROR;
            std::memcpy(copy, made->data(), made->size());
            signature->data = copy;
            signature->size = static_cast<unsigned>(made->size());
            return 0;
        } catch (...) {
            return GNUTLS_E_MEMORY_ERROR;
        }
    }

    // What GnuTLS hands over to be signed is not looked at: the keeper builds it itself from the transcript's hash.
    static int sign_data(gnutls_privkey_t, gnutls_sign_algorithm_t algorithm, void* key_info, unsigned,
                         const gnutls_datum_t*, gnutls_datum_t* signature) noexcept {
        return sign(key_info, algorithm, signature);
    }
    static int sign_hash(gnutls_privkey_t, gnutls_sign_algorithm_t algorithm, void* key_info, unsigned,
                         const gnutls_datum_t*, gnutls_datum_t* signature) noexcept {
        return sign(key_info, algorithm, signature);
    }
    static int info(gnutls_privkey_t, unsigned flags, void* key_info) noexcept {
        const auto* info = static_cast<const Credentials::KeyInfo*>(key_info);
        if ((flags & GNUTLS_PRIVKEY_INFO_PK_ALGO) != 0) return static_cast<int>(info->algorithm);
        if ((flags & GNUTLS_PRIVKEY_INFO_PK_ALGO_BITS) != 0) return static_cast<int>(info->bits);
        if ((flags & GNUTLS_PRIVKEY_INFO_HAVE_SIGN_ALGO) != 0)
            return static_cast<int>(gnutls_sign_supports_pk_algorithm(
                static_cast<gnutls_sign_algorithm_t>(GNUTLS_FLAGS_TO_SIGN_ALGO(flags)), info->algorithm));
        return -1;
    }
};

namespace {

gnutls_datum_t datum_of(const std::string& text) noexcept {
    return {reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())),
            static_cast<unsigned>(text.size())};
}

Error tls_error(std::string_view what, int code) {
    return {Fault::system, 0, fmt::format("{}: {}", what, gnutls_strerror(code))};
}

struct CertificateList {
    std::array<gnutls_x509_crt_t, 16> items{};
    unsigned count = 0;
    CertificateList() = default;
    CertificateList(const CertificateList&) = delete;
    CertificateList& operator=(const CertificateList&) = delete;
    ~CertificateList() {
        for (unsigned i = 0; i < count; ++i) gnutls_x509_crt_deinit(items.at(i));
    }
};

}  // namespace

Result<std::unique_ptr<Credentials>> Credentials::make(const std::string& certificate_pem,
                                                       const std::string& authorities_pem,
                                                       const std::string& priority, Signer& signer) {
    auto made = std::unique_ptr<Credentials>(new Credentials);
    gnutls_certificate_credentials_t credentials;
    int code = gnutls_certificate_allocate_credentials(&credentials);
    if (code < 0) return tl::unexpected(tls_error("cannot make TLS credentials", code));
    made->credentials_.reset(credentials);

    // gnutls_certificate_set_key() takes these over, so they must not be freed here after it has succeeded.
    constexpr unsigned k_chain_max = 8;
    std::array<gnutls_pcert_st, k_chain_max> chain;
    unsigned chain_size = chain.size();
    const gnutls_datum_t pem = datum_of(certificate_pem);
    code = gnutls_pcert_list_import_x509_raw(chain.data(), &chain_size, &pem, GNUTLS_X509_FMT_PEM,
                                             GNUTLS_X509_CRT_LIST_FAIL_IF_UNSORTED);
    if (code < 0 || chain_size == 0)
        return tl::unexpected(tls_error("cannot use the server's certificate", code));
    made->key_info_ = std::make_unique<KeyInfo>();
    made->key_info_->signer = &signer;
    made->key_info_->algorithm = static_cast<gnutls_pk_algorithm_t>(
        gnutls_pubkey_get_pk_algorithm(chain[0].pubkey, &made->key_info_->bits));

    gnutls_privkey_t key;
    code = gnutls_privkey_init(&key);
    if (code >= 0)
        code = gnutls_privkey_import_ext4(key, made->key_info_.get(), KeyCallbacks::sign_data,
                                          KeyCallbacks::sign_hash, nullptr, nullptr, KeyCallbacks::info, 0);
    if (code >= 0)
        code = gnutls_certificate_set_key(made->credentials_.get(), nullptr, 0, chain.data(),
                                          static_cast<int>(chain_size), key);
    if (code < 0) return tl::unexpected(tls_error("cannot use the server's certificate with its key", code));

    // The authorities are only named to the client; whether its certificate is good is for doorman to say.
    CertificateList authorities;
    const gnutls_datum_t ca = datum_of(authorities_pem);
    authorities.count = authorities.items.size();
    code = gnutls_x509_crt_list_import(authorities.items.data(), &authorities.count, &ca, GNUTLS_X509_FMT_PEM,
                                       0);
    if (code < 0) {
        authorities.count = 0;
        return tl::unexpected(tls_error("cannot use the authorities' certificates", code));
    }
    code = gnutls_certificate_set_x509_trust(made->credentials_.get(), authorities.items.data(),
                                             static_cast<int>(authorities.count));
    if (code < 0) return tl::unexpected(tls_error("cannot use the authorities' certificates", code));

    gnutls_priority_t cache;
    const char* where = nullptr;
    const std::string only_13 = priority + ":-VERS-ALL:+VERS-TLS1.3";
    code = gnutls_priority_init(&cache, only_13.c_str(), &where);
    if (code < 0)
        return tl::unexpected(
            tls_error(fmt::format("cannot use the priority string \"{}\"", priority), code));
    made->priority_.reset(cache);
    return made;
}

}  // namespace virtgate::netd::gate
