// SPDX-License-Identifier: LGPL-2.1-or-later
// examine - the rules by which libvirt accepts a certificate, and what to do about each that is broken.
//
// The rules are those of libvirt's own check, which is stricter than GnuTLS's: every certificate of the chain
// has to be valid now; the leaf must be no authority; its key usage has to allow digitalSignature and
// keyEncipherment, and its purpose has to fit (a breach is fatal if the extension is critical, else libvirt
// warns).
//
// Trust:  certificates may come from a peer, that is, from anybody.
// Owns:   nothing.
#pragma once

#include <ctime>
#include <string>
#include <vector>

#include "ctl/pki/bundle.h"
#include "ctl/pki/certificate.h"
#include "ctl/pki/report.h"

namespace virtgate::ctl::pki {

// Certificates that are trusted, and those that are revoked.
struct Trust {
    std::string path;  // of the CA file, for messages
    std::vector<Certificate> authorities;
    std::string crl_path;  // empty if there is no list
    Crl crl;               // null if there is no list
};

// What is examined: a file of this machine, or what a peer has sent.
struct Exhibit {
    std::string where;  // the file, or "host:port"
    bool of_peer = false;
    Kind kind{};  // whom the certificate is for
};

// Reads CA file and list. What is wrong with them is reported; false if no authority could be read. An empty
// `crl_path` means none; a list that does not exist is no problem unless it `has_to` exist.
bool read_trust(Report& report, const std::string& path, const std::string& crl_path, bool has_to,
                std::time_t now, Trust& trust);

// Reads the certificates in a file; empty after a report.
std::vector<Certificate> read_chain(Report& report, const std::string& path);

// Dates, constraints, usage and purpose of a chain; its first certificate is the leaf. One line of `good` if
// nothing was wrong.
void examine_chain(Report& report, const Exhibit& exhibit, const std::vector<Certificate>& chain,
                   std::time_t now);

// Whether the chain leads to an authority that is trusted, and whether something in it was revoked.
void examine_trust(Report& report, const Exhibit& exhibit, const std::vector<Certificate>& chain,
                   const Trust& trust);

// Whether the leaf of a server has the name under which clients know it.
void examine_name(Report& report, const Exhibit& exhibit, const Certificate& leaf, const std::string& name);

// Whether the key in the file can be read, by its owner alone, and belongs to the certificate in
// `certificate_path`.
void examine_key(Report& report, const std::string& path, const std::string& certificate_path,
                 const Certificate& leaf);

}  // namespace virtgate::ctl::pki
