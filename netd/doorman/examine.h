// SPDX-License-Identifier: LGPL-2.1-or-later
// examine - decide from a gate's proof who the client is, or that nobody knows.
//
// In this order, cheapest first: the transcript is a full TLS 1.3 handshake; its nonce is one of this gate's,
// unspent; the server in it was us; the client's signature covers it; the chain is valid (x509.h); its names
// are unambiguous (libshared/x509).
//
// Trust:  nothing in the proof is believed but what the client's signature and the CA's cover. The source
//         address is the gate's word: a taken-over gate can lie about it.
#pragma once

#include <string>

#include "netd/doorman/nonces.h"
#include "netd/doorman/x509.h"
#include "netd/doorman/x509_expiry.h"
#include "proto/config.h"
#include "proto/door.h"

namespace virtgate::netd::doorman {

struct Examination {
    proto::who::Who who;                // only if `verdict` is success
    std::string presented;              // for logs, escaped: the subject in one line, or why there is none
    std::vector<std::string> warnings;  // odd, but allowed
    Done verdict;                       // error: peer's fault, with the rule that is broken
};

class Examiner {
public:
    // The files of `config` are judged, too. `warnings` gets what is odd about the server's own certificate.
    // Error: system's fault, with the name of the file.
    static Result<Examiner> make(const proto::config::DoormanConfig& config,
                                 std::vector<std::string>& warnings);

    // Everything that the revocation lists name.
    [[nodiscard]] const std::vector<proto::who::CertificateId>& revoked() const noexcept {
        return authorities_.revoked();
    }

    // When the files of the configuration end.
    [[nodiscard]] const Expiry& expiry() const noexcept { return expiry_; }

    // Examines `proof`; spends its nonce of `nonces`.
    [[nodiscard]] Examination examine(const proto::door::AdmitArgs& proof, Nonces& nonces) const;

private:
    Examiner(Authorities authorities, ByteVector certificate, const Expiry& expiry)
        : authorities_(std::move(authorities)), certificate_(std::move(certificate)), expiry_(expiry) {}
    Done examine_into(const proto::door::AdmitArgs& proof, Nonces& nonces, Examination& result) const;

    Authorities authorities_;
    ByteVector certificate_;  // the server's own, DER
    Expiry expiry_;
};

// `address` in one notation: an IPv4 address that came in through IPv6 as plain IPv4, without a zone.
// Error: peer's fault, if it is no numeric address.
Result<std::string> normalise_address(std::string_view address);

}  // namespace virtgate::netd::doorman
