// SPDX-License-Identifier: LGPL-2.1-or-later
// probe - a connection to a server as libvirt's client makes it, up to the byte by which the server accepts.
//
// Trust:  the server may be anything that listens there; nothing that it sends is believed, or shown
//         unescaped.
// Limits: one connection to each address, one after the other until one answers; `patience` for each, and at
//         most k_chain_max certificates.
// Owns:   its sockets, which are closed when it returns.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "ctl/pki/examine.h"

namespace virtgate::ctl::pki {

struct Target {
    std::string host;  // name or address, without brackets
    std::string port = "16514";
    std::string name;                 // what the certificate has to be for
    std::string priority = "NORMAL";  // GnuTLS's, as in libvirt's "tls_priority"
    std::chrono::milliseconds patience{10'000};

    [[nodiscard]] std::string say() const;  // "host:port"
};

// What is shown to the server. Without a certificate none is.
struct Identity {
    std::string path;  // of the certificate, for messages
    std::vector<Certificate> chain;
    Key key;
};

// Connects, shakes hands, examines the server's certificate and waits for the byte. All that there is to say
// goes into `report`.
void probe(Report& report, const Target& target, const Trust& trust, const Identity& identity,
           std::time_t now);

}  // namespace virtgate::ctl::pki
