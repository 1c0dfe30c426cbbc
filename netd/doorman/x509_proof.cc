// SPDX-License-Identifier: LGPL-2.1-or-later
// x509_proof - check that whoever took part in a handshake holds the private key of the certificate it
// showed.
#include "netd/doorman/x509_proof.h"

#include <gnutls/crypto.h>

#include <string_view>

#include "netd/keeper/scheme.h"

namespace virtgate::netd::doorman {

namespace {

using PublicKey = std::unique_ptr<gnutls_pubkey_st, FreeWith<gnutls_pubkey_deinit>>;

}  // namespace

Result<ByteVector> client_signed_content(const Handshake& handshake) {
    constexpr std::string_view k_context = "TLS 1.3, client CertificateVerify";
    const std::size_t size = hash_size(handshake.hash);
    const auto digest = handshake.hash == Hash::sha256 ? GNUTLS_DIG_SHA256 : GNUTLS_DIG_SHA384;

    ByteVector content(64, std::byte{0x20});
    const ByteView context = as_bytes(k_context);
    content.insert(content.end(), context.begin(), context.end());
    content.push_back(std::byte{0});
    const std::size_t hash_at = content.size();
    content.resize(hash_at + size);

    gnutls_hash_hd_t handle = nullptr;
    if (const int code = gnutls_hash_init(&handle, digest); code < 0)
        return system_fault(0, fmt::format("cannot hash: {}", gnutls_strerror(code)));
    bool good = true;
    ByteView rest = handshake.transcript;
    if (handshake.first_hello_size != 0) {
        // After a HelloRetryRequest the first ClientHello counts as a message of type 254 that holds its
        // hash.
        ByteVector stand_in(4 + size);
        stand_in[0] = std::byte{254};
        stand_in[3] = static_cast<std::byte>(size);
        good = gnutls_hash_fast(digest, rest.data(), handshake.first_hello_size, stand_in.data() + 4) >= 0 &&
               gnutls_hash(handle, stand_in.data(), stand_in.size()) >= 0;
        rest = rest.subspan(handshake.first_hello_size);
    }
    good = good && gnutls_hash(handle, rest.data(), rest.size()) >= 0;
    gnutls_hash_deinit(handle, content.data() + hash_at);
    if (!good) return system_fault(0, "cannot hash a handshake");
    return content;
}

Done check_proof(const Handshake& handshake, const CertificateVerify& verify, gnutls_x509_crt_t leaf) {
    const keeper::Scheme* scheme = keeper::find_scheme(verify.scheme);
    if (scheme == nullptr)
        return peer_fault(fmt::format("signature scheme {:04x} is not one of TLS 1.3", verify.scheme));
    gnutls_pubkey_t raw = nullptr;
    if (gnutls_pubkey_init(&raw) < 0) return system_fault(0, "cannot make a key object");
    const PublicKey key(raw);
    if (const int code = gnutls_pubkey_import_x509(raw, leaf, 0); code < 0)
        return peer_fault(fmt::format("the certificate's key cannot be used: {}", gnutls_strerror(code)));
    if (!keeper::fits(*scheme, raw))
        return peer_fault(
            fmt::format("signature scheme {:04x} does not fit the certificate's key", verify.scheme));
    const auto content = client_signed_content(handshake);
    if (!content) return tl::unexpected(content.error());
    const gnutls_datum_t data = to_datum(*content), signature = to_datum(verify.signature);
    if (gnutls_pubkey_verify_data2(raw, scheme->algorithm, 0, &data, &signature) < 0)
        return peer_fault("the client's signature is not valid for this handshake");
    return {};
}

}  // namespace virtgate::netd::doorman
