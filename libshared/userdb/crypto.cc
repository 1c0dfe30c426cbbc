// SPDX-License-Identifier: LGPL-2.1-or-later
// crypto - the few functions that salted verifiers are made of, from GnuTLS.
#include "libshared/userdb/crypto.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <strings.h>
#include <sys/random.h>

#include <cerrno>
#include <utility>

namespace virtgate::userdb {

namespace {

gnutls_mac_algorithm_t mac_of(Hash hash) noexcept {
    switch (hash) {
        case Hash::sha1: return GNUTLS_MAC_SHA1;
        case Hash::sha256: return GNUTLS_MAC_SHA256;
        case Hash::sha512: return GNUTLS_MAC_SHA512;
    }
    panic("a hash that does not exist");
}

gnutls_digest_algorithm_t digest_of(Hash hash) noexcept {
    switch (hash) {
        case Hash::sha1: return GNUTLS_DIG_SHA1;
        case Hash::sha256: return GNUTLS_DIG_SHA256;
        case Hash::sha512: return GNUTLS_DIG_SHA512;
    }
    panic("a hash that does not exist");
}

// GnuTLS does not write through it.
gnutls_datum_t datum(ByteView bytes) noexcept {
    return {reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data())),
            static_cast<unsigned>(bytes.size())};
}

constexpr std::string_view k_digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::size_t size_of(Hash hash) noexcept { return gnutls_hash_get_len(digest_of(hash)); }

ByteVector digest(Hash hash, ByteView text) {
    ByteVector out(size_of(hash));
    require(gnutls_hash_fast(digest_of(hash), text.data(), text.size(), out.data()) >= 0,
            "GnuTLS cannot hash");
    return out;
}

Digester::Digester(Hash hash) : hash_(hash) {
    gnutls_hash_hd_t state = nullptr;
    require(gnutls_hash_init(&state, digest_of(hash)) >= 0, "GnuTLS cannot hash");
    state_ = state;
}

Digester::~Digester() {
    if (state_ != nullptr) gnutls_hash_deinit(static_cast<gnutls_hash_hd_t>(state_), nullptr);
}

void Digester::add(ByteView piece) {
    require(gnutls_hash(static_cast<gnutls_hash_hd_t>(state_), piece.data(), piece.size()) >= 0,
            "GnuTLS cannot hash");
}

ByteVector Digester::finish() {
    ByteVector out(size_of(hash_));
    gnutls_hash_deinit(static_cast<gnutls_hash_hd_t>(std::exchange(state_, nullptr)), out.data());
    return out;
}

ByteVector hmac(Hash hash, ByteView key, ByteView text) {
    ByteVector out(size_of(hash));
    require(gnutls_hmac_fast(mac_of(hash), key.data(), key.size(), text.data(), text.size(), out.data()) >= 0,
            "GnuTLS cannot make an HMAC");
    return out;
}

Result<ByteVector> stretch(Hash hash, std::string_view password, ByteView salt, std::uint32_t iterations) {
    ByteVector out(size_of(hash));
    const gnutls_datum_t key = datum(as_bytes(password)), grains = datum(salt);
    const int status = gnutls_pbkdf2(mac_of(hash), &key, &grains, iterations, out.data(), out.size());
    if (status < 0) return system_fault(0, fmt::format("cannot derive a key: {}", gnutls_strerror(status)));
    return out;
}

Result<ByteVector> md5(ByteView text) {
    ByteVector out(16);
    const int status = gnutls_hash_fast(GNUTLS_DIG_MD5, text.data(), text.size(), out.data());
    if (status < 0) return system_fault(0, fmt::format("cannot use MD5: {}", gnutls_strerror(status)));
    return out;
}

ByteVector random_bytes(std::size_t size) {
    ByteVector out(size);
    std::size_t done = 0;
    while (done < size) {
        const ssize_t n = getrandom(out.data() + done, size - done, 0);
        if (n < 0 && errno == EINTR) continue;
        require(n > 0, "the kernel gives no random bytes");
        done += static_cast<std::size_t>(n);
    }
    return out;
}

bool same_secret(ByteView a, ByteView b) noexcept {
    return a.size() == b.size() && (a.empty() || gnutls_memcmp(a.data(), b.data(), a.size()) == 0);
}

void wipe(MutableBytes bytes) noexcept {
    if (!bytes.empty()) explicit_bzero(bytes.data(), bytes.size());
}

void wipe(std::string& text) noexcept {
    if (!text.empty()) explicit_bzero(text.data(), text.size());
    text.clear();
}

std::string to_base64(ByteView bytes) {
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t left = std::min<std::size_t>(3, bytes.size() - i);
        std::uint32_t word = 0;
        for (std::size_t k = 0; k < 3; ++k)
            word = word << 8 | (k < left ? std::to_integer<std::uint32_t>(bytes[i + k]) : 0);
        for (std::size_t k = 0; k < 4; ++k) text += k <= left ? k_digits[word >> (18 - 6 * k) & 63] : '=';
    }
    return text;
}

Result<ByteVector> from_base64(std::string_view text) {
    ByteVector bytes;
    if (text.size() % 4 != 0) return peer_fault("base64 of a wrong length");
    for (std::size_t i = 0; i < text.size(); i += 4) {
        std::uint32_t word = 0;
        std::size_t digits = 4;
        // Only the last group may be padded.
        if (i + 4 == text.size()) digits -= text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
        for (std::size_t k = 0; k < 4; ++k) {
            const std::size_t value = k < digits ? k_digits.find(text[i + k]) : 0;
            if (value == std::string_view::npos) return peer_fault("base64 with a wrong character");
            word = word << 6 | static_cast<std::uint32_t>(value);
        }
        for (std::size_t k = 0; k + 1 < digits; ++k)
            bytes.push_back(static_cast<std::byte>(word >> (16 - 8 * k) & 255));
        if ((word & ((1U << (8 * (4 - digits))) - 1)) != 0 && digits < 4)
            return peer_fault("base64 with stray bits");
    }
    return bytes;
}

}  // namespace virtgate::userdb
