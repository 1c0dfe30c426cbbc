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

// A new private key: P-256, RSA of 2,048 bits, or Ed25519.
Result<Key> generate_key(KeyType type);

// A certificate for `key` with a random serial number, signed by `issuer`; an authority that has no issuer
// yet (null) signs itself.
Result<Certificate> issue(const Request& request, const Key& key, const Issuer* issuer);

// The key as unencrypted PKCS #8, the certificate as X.509, in PEM form.
Result<Pem> export_key(const Key& key);
Result<Pem> export_certificate(const Certificate& certificate);

// The first certificate in the PEM text `text`. Error: system's fault, there is none.
Result<Certificate> import_certificate(std::string_view text);

}  // namespace virtgate::ctl::pki
