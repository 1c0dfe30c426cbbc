// SPDX-License-Identifier: LGPL-2.1-or-later
// signer - the private key, and the only kind of signature that it makes.
#include "netd/keeper/signer.h"

#include <gnutls/x509.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "netd/keeper/scheme.h"

namespace virtgate::netd::keeper {

namespace {

constexpr std::size_t k_hash_sizes[] = {32, 48};  // SHA-256 and SHA-384, those of TLS 1.3's cipher suites

// A place for the key's text that forgets it.
struct WipedBuffer {
    std::array<unsigned char, k_key_file_max> bytes{};
    std::size_t size = 0;
    ~WipedBuffer() { explicit_bzero(bytes.data(), bytes.size()); }
};

tl::unexpected<Error> gnutls_fault(int code, std::string_view what) {
    return system_fault(0, fmt::format("{}: {}", what, gnutls_strerror(code)));
}

Done fill(WipedBuffer& buffer, int fd) {
    for (;;) {
        const ssize_t n = pread(fd, buffer.bytes.data() + buffer.size, buffer.bytes.size() - buffer.size,
                                static_cast<off_t>(buffer.size));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_fault(errno, "cannot read the private key");
        if (n == 0) return {};
        buffer.size += static_cast<std::size_t>(n);
        if (buffer.size == buffer.bytes.size()) return system_fault(0, "the private key's file is too large");
    }
}

// Identifies a key, whether it comes from a certificate or not.
using KeyId = std::array<unsigned char, 32>;

Done compare(gnutls_pubkey_t key, std::string_view certificate) {
    using Certificate = std::unique_ptr<gnutls_x509_crt_int, FreeWith<gnutls_x509_crt_deinit>>;
    gnutls_x509_crt_t raw = nullptr;
    if (const int code = gnutls_x509_crt_init(&raw); code < 0)
        return gnutls_fault(code, "cannot make a certificate object");
    const Certificate owner(raw);
    gnutls_datum_t text{reinterpret_cast<unsigned char*>(const_cast<char*>(certificate.data())),
                        static_cast<unsigned>(certificate.size())};
    if (const int code = gnutls_x509_crt_import(raw, &text, GNUTLS_X509_FMT_PEM); code < 0)
        return gnutls_fault(code, "cannot parse the server's certificate");
    KeyId ours{}, its{};
    std::size_t size = ours.size();
    int code = gnutls_pubkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, ours.data(), &size);
    size = its.size();
    if (code >= 0) code = gnutls_x509_crt_get_key_id(raw, GNUTLS_KEYID_USE_SHA256, its.data(), &size);
    if (code < 0) return gnutls_fault(code, "cannot compare the private key with the server's certificate");
    if (ours != its) return system_fault(0, "the private key does not belong to the server's certificate");
    return {};
}

}  // namespace

Result<Signer> Signer::load(int fd, std::string_view certificate) {
    const auto buffer = std::make_unique<WipedBuffer>();
    if (auto done = fill(*buffer, fd); !done) return tl::unexpected(done.error());
    gnutls_privkey_t raw = nullptr;
    if (const int code = gnutls_privkey_init(&raw); code < 0)
        return gnutls_fault(code, "cannot make a key object");
    Key key(raw);
    const gnutls_datum_t text{buffer->bytes.data(), static_cast<unsigned>(buffer->size)};
    if (const int code = gnutls_privkey_import_x509_raw(raw, &text, GNUTLS_X509_FMT_PEM, nullptr, 0);
        code < 0)
        return gnutls_fault(code, "cannot parse the private key");
    gnutls_pubkey_t raw_public = nullptr;
    if (const int code = gnutls_pubkey_init(&raw_public); code < 0)
        return gnutls_fault(code, "cannot make a key object");
    PublicKey public_key(raw_public);
    if (const int code = gnutls_pubkey_import_privkey(raw_public, raw, 0, 0); code < 0)
        return gnutls_fault(code, "cannot find the public part of the private key");
    if (!certificate.empty())
        if (auto done = compare(raw_public, certificate); !done) return tl::unexpected(done.error());
    return Signer(std::move(key), std::move(public_key));
}

Result<ByteVector> Signer::sign(std::uint32_t number, ByteView hash) const {
    if (hash.size() != k_hash_sizes[0] && hash.size() != k_hash_sizes[1])
        return peer_fault(fmt::format("a transcript hash of {} bytes", hash.size()));
    const Scheme* scheme = find_scheme(number);
    if (scheme == nullptr)
        return peer_fault(fmt::format("signature scheme {:04x} is not one of TLS 1.3", number));
    if (!fits(*scheme, public_key_.get()))
        return peer_fault(fmt::format("signature scheme {:04x} does not fit the key", number));
    ByteVector content = server_signed_content(hash);
    const gnutls_datum_t data{reinterpret_cast<unsigned char*>(content.data()),
                              static_cast<unsigned>(content.size())};
    gnutls_datum_t signature{nullptr, 0};
    const int code = gnutls_privkey_sign_data2(key_.get(), scheme->algorithm, 0, &data, &signature);
    if (code < 0) return gnutls_fault(code, "cannot sign");
    const ByteView bytes = std::as_bytes(std::span(signature.data, signature.size));
    ByteVector result(bytes.begin(), bytes.end());
    gnutls_free(signature.data);
    return result;
}

std::string Signer::describe() const {
    unsigned bits = 0;
    const auto algorithm =
        static_cast<gnutls_pk_algorithm_t>(gnutls_privkey_get_pk_algorithm(key_.get(), &bits));
    return fmt::format("{}, {} bits", gnutls_pk_get_name(algorithm), bits);
}

ByteVector server_signed_content(ByteView hash) {
    constexpr std::string_view k_context = "TLS 1.3, server CertificateVerify";
    ByteVector content(64, std::byte{0x20});
    const ByteView context = as_bytes(k_context);
    content.insert(content.end(), context.begin(), context.end());
    content.push_back(std::byte{0});
    content.insert(content.end(), hash.begin(), hash.end());
    return content;
}

}  // namespace virtgate::netd::keeper
