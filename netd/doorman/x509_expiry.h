// SPDX-License-Identifier: LGPL-2.1-or-later
// x509_expiry - when what is in force ends: certificates, and revocation lists.
#pragma once

#include <ctime>
#include <string_view>

#include "libshared/base/result.h"

namespace virtgate::netd::doorman {

// Seconds since 1970, the first of several; 0: there is none, or it does not say.
struct Expiry {
    std::time_t server = 0;       // of the server's certificate and the chain that is sent with it
    std::time_t authorities = 0;  // of the CA certificates
    std::time_t revoked = 0;      // nextUpdate of the revocation lists
};

// The arguments are PEM texts, `revoked` may be empty. Error: system's fault: one of them cannot be read.
[[nodiscard]] Result<Expiry> find_expiry(std::string_view certificate, std::string_view authorities,
                                         std::string_view revoked);

}  // namespace virtgate::netd::doorman
