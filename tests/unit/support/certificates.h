// SPDX-License-Identifier: LGPL-2.1-or-later
// certificates - keys and certificates of every odd kind, made for one test; and handshakes with them.
//
// Everything that fails here aborts the test.
#pragma once

#include <gnutls/abstract.h>
#include <gnutls/x509.h>

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libshared/base/bytes.h"
#include "proto/config.h"

namespace virtgate::test {

enum class KeyKind { rsa, rsa_pss, p256, p384, p521, ed25519 };

// What is to be in a certificate.
struct CertificateSpec {
    // OID or short name as GnuTLS takes OIDs, and the bytes of the value, which may contain anything.
    std::vector<std::pair<std::string, std::string>> subject{{"2.5.4.3", "client"}};
    // The same with the whole DER of the value, for odd string types.
    std::vector<std::pair<std::string, std::string>> raw_subject;
    bool is_ca = false;
    std::time_t begin = std::time(nullptr) - 3600;
    std::time_t end = std::time(nullptr) + 3600;
    std::optional<unsigned> usage;  // GNUTLS_KEY_*
    bool usage_critical = true;
    std::vector<std::string> purposes;
    bool purposes_critical = true;
    std::vector<std::pair<gnutls_x509_subject_alt_name_t, std::string>> names;
    std::string raw_names;  // instead: the DER of the whole extension
    gnutls_digest_algorithm_t digest = GNUTLS_DIG_SHA256;
};

// A certificate with its key and, for a CA, the power to make others.
class Certificate {
public:
    // Signed by `issuer`, or by itself if that is null.
    Certificate(const CertificateSpec& spec, const Certificate* issuer, KeyKind kind = KeyKind::p256);
    ~Certificate();
    Certificate(const Certificate&) = delete;
    Certificate& operator=(const Certificate&) = delete;

    [[nodiscard]] std::string pem() const;
    [[nodiscard]] std::string key_pem() const;
    [[nodiscard]] ByteVector der() const;
    // A revocation list of this CA, in PEM, that revokes `victims`.
    [[nodiscard]] std::string revoke(const std::vector<const Certificate*>& victims, std::time_t next) const;
    [[nodiscard]] gnutls_x509_crt_t get() const noexcept { return certificate_; }

private:
    gnutls_x509_crt_t certificate_ = nullptr;
    gnutls_x509_privkey_t key_ = nullptr;
};

// A doorman that clients with a certificate of `ca` may come to, with `server` as its own; as virtgate-netd makes it.
proto::config::DoormanConfig doorman_config(const Certificate& ca, const Certificate& server);

// What a gate would show of a handshake.
struct Proof {
    ByteVector transcript, certificate_verify;
};

// A handshake in memory between a server that uses `nonce` as its random and a client that shows
// `client_chain` (PEM, its own certificate first; empty: none) with `client_key`. The priorities are
// GnuTLS's; with different groups first there is a HelloRetryRequest.
Proof shake_hands(const Certificate& server, const std::string& client_chain, const std::string& client_key,
                  ByteView nonce, const char* server_priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3",
                  const char* client_priority = "NORMAL");

}  // namespace virtgate::test
