// SPDX-License-Identifier: LGPL-2.1-or-later
// tls_verify - is this certificate the server's that was asked for, and if not, why: in words that help.
#pragma once

#include <gnutls/gnutls.h>

#include <string>

#include "libshared/client/failure.h"

namespace virtgate::client {

// Judges the chain that the server has shown in `session`, after the handshake, with the session's
// credentials. Error: Cause::untrusted.
[[nodiscard]] Done verify_server(gnutls_session_t session, const std::string& host);

// Judges the dates of our own certificate, which came from `path`. Error: Cause::invalid.
[[nodiscard]] Done check_own_certificate(gnutls_certificate_credentials_t credentials,
                                         const std::string& path);

}  // namespace virtgate::client
