// SPDX-License-Identifier: LGPL-2.1-or-later
// credentials - the server's certificate, and a private key that is somewhere else.
//
// Trust:  the configuration is the supervisor's.
// Owns:   GnuTLS's credentials object. It must outlive every TlsConnection made from it.
#pragma once

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>

#include <memory>
#include <string>

#include "libshared/base/bytes.h"
#include "libshared/base/handle.h"
#include "libshared/base/result.h"

namespace virtgate::netd::gate {

class Signer;

// What the thread's current handshake wants signed; GnuTLS's callback carries no session, so the connection says
// so around each call into the handshake.
class SigningContext {
public:
    virtual ~SigningContext() = default;
    // The hash of the handshake's transcript so far, with the hash function of its cipher suite.
    [[nodiscard]] virtual ByteVector transcript_hash() const = 0;
};
// Sets the context of this thread and returns the one before.
const SigningContext* set_signing_context(const SigningContext* context) noexcept;

class Credentials {
public:
    // `certificate_pem`: the server's chain, leaf first. `authorities_pem`: whose names go to the client with the
    // request for its certificate. `priority`: a GnuTLS priority string; TLS 1.3 only is enforced whatever it says.
    // `signer` has to outlive the result.
    // Error: system's fault: a certificate or the priority string is unusable.
    [[nodiscard]] static Result<std::unique_ptr<Credentials>> make(const std::string& certificate_pem,
                                                                   const std::string& authorities_pem,
                                                                   const std::string& priority,
                                                                   Signer& signer);

    [[nodiscard]] gnutls_certificate_credentials_t get() const noexcept { return credentials_.get(); }
    [[nodiscard]] gnutls_priority_t priority() const noexcept { return priority_.get(); }

private:
    Credentials() = default;
    std::unique_ptr<gnutls_certificate_credentials_st, FreeWith<gnutls_certificate_free_credentials>>
        credentials_;
    std::unique_ptr<gnutls_priority_st, FreeWith<gnutls_priority_deinit>> priority_;
    struct KeyInfo {
        Signer* signer = nullptr;
        gnutls_pk_algorithm_t algorithm = GNUTLS_PK_UNKNOWN;
        unsigned bits = 0;
    };
    std::unique_ptr<KeyInfo> key_info_;

    friend struct KeyCallbacks;
};

}  // namespace virtgate::netd::gate
