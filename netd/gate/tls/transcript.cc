// SPDX-License-Identifier: LGPL-2.1-or-later
// transcript - the messages of one TLS 1.3 handshake, as they were on the wire.
#include "netd/gate/tls/transcript.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

namespace virtgate::netd::gate {

namespace {

constexpr std::byte k_message_hash{254};

void put_header(ByteVector& out, std::byte type, std::size_t size) {
    out.push_back(type);
    out.push_back(static_cast<std::byte>(size >> 16));
    out.push_back(static_cast<std::byte>(size >> 8));
    out.push_back(static_cast<std::byte>(size));
}

}  // namespace

bool Transcript::add(unsigned type, bool incoming, ByteView body) {
    if (bytes_.size() + 4 + body.size() > k_transcript_max) return false;
    if (type == GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY && incoming) {
        if (body.size() > k_certificate_verify_max) return false;
        client_end_ = bytes_.size();
        certificate_verify_.assign(body.begin(), body.end());
    }
    if (type == GNUTLS_HANDSHAKE_HELLO_RETRY_REQUEST) {
        // GnuTLS has a number of its own for it; on the wire it is a ServerHello.
        first_hello_ = bytes_.size();
        type = GNUTLS_HANDSHAKE_SERVER_HELLO;
    }
    put_header(bytes_, static_cast<std::byte>(type), body.size());
    bytes_.insert(bytes_.end(), body.begin(), body.end());
    return true;
}

ByteVector Transcript::hash(int algorithm) const {
    const auto digest = static_cast<gnutls_digest_algorithm_t>(algorithm);
    const unsigned size = gnutls_hash_get_len(digest);
    gnutls_hash_hd_t handle;
    if (bytes_.empty() || size == 0 || gnutls_hash_init(&handle, digest) < 0) return {};
    ByteVector result(size);
    bool good = true;
    if (first_hello_ != 0) {
        // After a HelloRetryRequest the first ClientHello counts as a message that holds only its hash.
        ByteVector stand_in;
        put_header(stand_in, k_message_hash, size);
        stand_in.resize(4 + size);
        good = gnutls_hash_fast(digest, bytes_.data(), first_hello_, stand_in.data() + 4) >= 0 &&
               gnutls_hash(handle, stand_in.data(), stand_in.size()) >= 0;
    }
    good = good && gnutls_hash(handle, bytes_.data() + first_hello_, bytes_.size() - first_hello_) >= 0;
    gnutls_hash_deinit(handle, result.data());
    return good ? result : ByteVector{};
}

void Transcript::clear() noexcept {
    bytes_ = ByteVector{};
    certificate_verify_ = ByteVector{};
    first_hello_ = client_end_ = 0;
}

}  // namespace virtgate::netd::gate
