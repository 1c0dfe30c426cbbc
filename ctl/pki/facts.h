// SPDX-License-Identifier: LGPL-2.1-or-later
// facts - what a certificate says, as plain values.
//
// Trust:  the certificate may come from anybody. Texts that are meant to be shown have passed escape();
//         `common_name`, `organisation`, `dns` and `addresses` are raw, and what is not plain text is left
//         out of them.
// Owns:   copies.
#pragma once

#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "ctl/pki/certificate.h"

namespace virtgate::ctl::pki {

// An extension that says what a certificate may be used for. libvirt treats a breach as fatal only if the
// extension is critical, and one that is absent as permission.
struct Usage {
    bool present = false;
    bool critical = false;
    unsigned bits = 0;                  // GNUTLS_KEY_*, for the key usage
    std::vector<std::string> purposes;  // object identifiers, for the extended key usage
};

struct Facts {
    std::string subject, issuer;            // for people: "O=Example,CN=alice"
    std::string common_name, organisation;  // the first of each
    std::vector<std::string> dns, addresses;
    std::string serial;  // lower-case hexadecimal digits
    std::time_t from = 0, until = 0;
    bool authority = false;
    bool self_issued = false;  // issuer and subject are the same name
    KeyType key_type{};        // anything unknown counts as rsa
    Usage key_usage, extended_usage;

    // The names that a client can check, for people: "host1.example.org, 192.0.2.1", or "none".
    [[nodiscard]] std::string say_names() const;
};

[[nodiscard]] Facts read_facts(gnutls_x509_crt_int* certificate);

// The serial number as it is in the certificate; empty if it has none.
[[nodiscard]] std::vector<unsigned char> read_serial(gnutls_x509_crt_int* certificate);

}  // namespace virtgate::ctl::pki
