// SPDX-License-Identifier: LGPL-2.1-or-later
// x509 - judge a client's certificate chain.
//
// The rules are libvirt's (docs/protocol.md, "TLS"), so that a certificate that works there works here: the
// chain ends at a configured CA and nothing in it is revoked; every certificate in it is valid now; the
// client's own is not a CA's; where its key usage or purpose is marked critical, it allows digital signatures
// and TLS clients. A usage or purpose that does not fit and is not critical is a warning, as in libvirt.
// Stricter than libvirt are the names (libshared/x509).
//
// Trust:  the chain is hostile until it is judged, and its names are then still chosen by somebody else.
// Limits: the caller's: handshake.h bounds the chain.
// Owns:   the CA certificates and revocation lists.
#pragma once

#include <gnutls/abstract.h>
#include <gnutls/x509.h>

#include <string>
#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/base/handle.h"
#include "libshared/base/result.h"
#include "proto/who.h"

namespace virtgate::netd::doorman {

using X509Certificate = std::unique_ptr<gnutls_x509_crt_int, FreeWith<gnutls_x509_crt_deinit>>;

// A chain of certificates, the client's own first.
using X509Chain = std::vector<X509Certificate>;

// GnuTLS's view of bytes, for its calls that take const gnutls_datum_t*.
[[nodiscard]] gnutls_datum_t to_datum(ByteView bytes) noexcept;
[[nodiscard]] gnutls_datum_t to_datum(std::string_view text) noexcept;

// Parses each DER certificate. Error: peer's fault.
Result<X509Chain> parse_chain(const std::vector<ByteView>& chain);

// All certificates of the PEM text `pem`, in DER, in their order; at least one. Error: system's fault.
Result<std::vector<ByteVector>> all_certificates(std::string_view pem);

// What names `certificate` among all others. Error: peer's fault.
Result<proto::who::CertificateId> identify(gnutls_x509_crt_t certificate);

class Authorities {
public:
    // `certificates` and `revoked` are PEM texts; `revoked` may be empty. Error: system's fault: one of them
    // cannot be read, there is no CA certificate, or a revocation list is not signed by one of them.
    static Result<Authorities> load(std::string_view certificates, std::string_view revoked);

    // Succeeds if the chain may come in. `warnings` gets what is odd but allowed. Error: peer's fault, with
    // the rule.
    Done judge(const X509Chain& chain, std::vector<std::string>& warnings) const;

    // Everything that the revocation lists name.
    [[nodiscard]] const std::vector<proto::who::CertificateId>& revoked() const noexcept { return revoked_; }

    // Succeeds if `chain` ends at one of the authorities; of the server's own. Error: system's fault.
    Done reaches(const X509Chain& chain) const;

private:
    struct FreeList {
        void operator()(gnutls_x509_trust_list_t list) const noexcept {
            gnutls_x509_trust_list_deinit(list, 1);
        }
    };
    using List = std::unique_ptr<gnutls_x509_trust_list_st, FreeList>;
    Authorities(List list, std::vector<proto::who::CertificateId> revoked)
        : list_(std::move(list)), revoked_(std::move(revoked)) {}
    List list_;
    std::vector<proto::who::CertificateId> revoked_;
};

}  // namespace virtgate::netd::doorman
