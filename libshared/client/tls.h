// SPDX-License-Identifier: LGPL-2.1-or-later
// tls - a server over TLS: its certificate judged, and libvirt's byte that says that it has judged ours.
//
// Trust:  nothing of the server before its certificate is verified: chain and revocation, dates of the whole
//         chain, the host's name, and that it is no authority and may be a server's. As in libvirt, what a
//         certificate says about its uses counts only if it is marked critical; unlike libvirt,
//         keyEncipherment is never asked for, which TLS
//         1.3 does not use.
// Limits: TLS 1.2 and 1.3, unless the URI has its own priorities. No renegotiation.
// Source: docs/protocol.md, TLS.
#pragma once

#include <memory>
#include <string>

#include "libshared/client/transport.h"

namespace virtgate::client {

// What a client has for TLS: authorities, revocation list, and perhaps a certificate with its key.
class TlsCredentials {
public:
    // Reads the files. `sane`: a certificate of ours that is out of date is refused here already, where the
    // reason can be told; a server would just hang up. Error: Cause::invalid or Cause::system, with the file.
    [[nodiscard]] static Result<TlsCredentials> load(const PkiPaths& paths, bool sane);

    TlsCredentials(TlsCredentials&&) noexcept;
    TlsCredentials& operator=(TlsCredentials&&) noexcept;
    ~TlsCredentials();

private:
    friend class TlsChannel;
    struct Parts;
    explicit TlsCredentials(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

struct TlsTerms {
    std::string host;      // that the certificate has to name
    std::string priority;  // of GnuTLS; empty: ours
    bool verify = true;    // false: any server will do
};

// The handshake over `socket` (connected, non-blocking), the verification, and the wait for the server's
// byte. Error: Cause::untrusted, with what is wrong with which certificate, or that the server did not take
// ours;
//        with ECONNRESET, if it hung up without a word, which may have another reason;
//        Cause::unreachable, if the server does not speak TLS; timeout, cancelled, invalid (priority).
[[nodiscard]] Result<std::unique_ptr<Channel>> make_tls_channel(UniqueFd socket, TlsCredentials credentials,
                                                                const TlsTerms& terms,
                                                                const Deadline& deadline);

}  // namespace virtgate::client
