// SPDX-License-Identifier: LGPL-2.1-or-later
// check - "virtgate pki check": what is wrong with certificates, or with a connection, and what to do.
#pragma once

#include <chrono>
#include <ctime>
#include <string>

#include "ctl/pki/probe.h"
#include "ctl/pki/report.h"

namespace virtgate::ctl::pki {

struct CheckOptions {
    std::string peer;                       // HOST, HOST:PORT, [ADDRESS]:PORT, or a URI; empty: files only
    std::string name;                       // what a server's certificate has to be for; empty: the host
    std::string directory;                  // a store; empty: the usual one, if it exists
    std::string pkipath;                    // a directory with libvirt's names for the files
    std::string ca, certificate, key, crl;  // files; empty: those of pkipath, or libvirt's standard places
    std::string priority;                   // GnuTLS's priority string; empty: the usual one
    std::chrono::seconds patience{10};      // for the connection and for TLS
};

// What a HOST argument or URI means. Error: system's fault, it is neither.
struct Peer {
    std::string host, port, pkipath;  // port and pkipath may be empty
};
Result<Peer> parse_peer(const std::string& word);

// Looks at everything that the options ask for. A key without a certificate makes no sense, nor the other way
// round with a peer. Error: system's fault, there is nothing to look at.
Result<Report> check(const CheckOptions& options, std::time_t now);

}  // namespace virtgate::ctl::pki
