// SPDX-License-Identifier: LGPL-2.1-or-later
// certificate - private keys and X.509 certificates, made so that libvirt's clients accept them.
//
// libvirt checks more than GnuTLS does: a leaf has to carry the key usages digitalSignature and
// keyEncipherment (also with a key that cannot encipher), a fitting purpose, and must not be an authority.
// Every certificate made here passes that check, whatever the type of its key.
//
// Trust:  what is asked for comes from this program, never from a peer.
// Owns:   the key and its text are wiped when their owner is destroyed.
#pragma once

#include <gnutls/x509.h>

#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ctl/pki/key_type.h"
#include "libshared/base/handle.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::pki {

// gnutls_x509_privkey_deinit() wipes what it frees.
using Key = std::unique_ptr<gnutls_x509_privkey_int, FreeWith<gnutls_x509_privkey_deinit>>;
using Certificate = std::unique_ptr<gnutls_x509_crt_int, FreeWith<gnutls_x509_crt_deinit>>;
using Crl = std::unique_ptr<gnutls_x509_crl_int, FreeWith<gnutls_x509_crl_deinit>>;

// Text in PEM form, wiped at the end: it may be a key.
class Pem {
public:
    Pem() noexcept = default;
    Pem(Pem&& other) noexcept : text_(std::exchange(other.text_, {nullptr, 0})) {}
    Pem& operator=(Pem&&) = delete;
    ~Pem();

    [[nodiscard]] std::string_view text() const noexcept;
    // Where GnuTLS puts the text; to be called once.
    [[nodiscard]] gnutls_datum_t* place() noexcept { return &text_; }

private:
    gnutls_datum_t text_{nullptr, 0};
};

// What a certificate is for.
enum class Purpose : unsigned char {
    authority,  // signs the two others, and nothing else
    server,     // TLS server (extended key usage serverAuth)
    client,     // TLS client (extended key usage clientAuth)
};

struct Request {
    Purpose purpose = Purpose::client;
    std::string organisation;            // O of the subject; empty = none
    std::string name;                    // CN of the subject
    std::vector<std::string> dns;        // subject alternative names, for a server
    std::vector<std::string> addresses;  // the same: IPv4 or IPv6 in text form
    std::time_t from = 0;                // first second of its life, seconds since 1970
    std::time_t until = 0;               // last second of its life
};

struct Issuer {
    gnutls_x509_crt_int* certificate;  // borrowed
    gnutls_x509_privkey_int* key;      // borrowed
};

// A new private key: P-256, RSA of `rsa_bits` bits, or Ed25519.
Result<Key> generate_key(KeyType type, unsigned rsa_bits = 2048);

// A certificate for `key` with a random serial number, signed by `issuer`; an authority that has no issuer
// yet (null) signs itself.
Result<Certificate> issue(const Request& request, const Key& key, const Issuer* issuer);

// One row of the list of certificates that are valid no more.
struct Revocation {
    std::vector<unsigned char> serial;
    std::time_t when = 0;  // when it was revoked, seconds since 1970
};

// The list of `issuer`, in PEM form, in force from `from`; after `until` whoever uses it trusts nothing of
// this issuer any more. `number` has to be greater than that of each list before.
Result<Pem> issue_crl(const Issuer& issuer, const std::vector<Revocation>& revoked, std::uint64_t number,
                      std::time_t from, std::time_t until);

// The key as unencrypted PKCS #8, the certificate as X.509, in PEM form.
Result<Pem> export_key(const Key& key);
Result<Pem> export_certificate(const Certificate& certificate);

// The first certificate in the PEM text `text`. Error: system's fault, there is none.
Result<Certificate> import_certificate(std::string_view text);

// That of the file `path`. Error: system's fault, with the path.
Result<Certificate> read_certificate(const std::string& path);

// All certificates in the PEM text `text`, at least one and at most k_chain_max, in their order.
inline constexpr unsigned k_chain_max = 64;
Result<std::vector<Certificate>> import_certificates(std::string_view text);

// The unencrypted private key in the PEM text `text`, of any of the usual forms. Error: system's fault.
Result<Key> import_key(std::string_view text);

// The first list of revoked certificates in the PEM text `text`. Error: system's fault, there is none.
Result<Crl> import_crl(std::string_view text);

// Whether both have the same public key.
[[nodiscard]] bool belong_together(const Key& key, gnutls_x509_crt_int* certificate) noexcept;

}  // namespace virtgate::ctl::pki
