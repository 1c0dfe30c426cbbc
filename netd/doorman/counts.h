// SPDX-License-Identifier: LGPL-2.1-or-later
// counts - what doorman has decided, by numbers.
//
// Trust:  labels are words of ours, or mechanisms that the configuration names: what a client calls one is not among them.
// Owns:   the numbers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libshared/metrics/tally.h"
#include "netd/doorman/x509_expiry.h"

namespace virtgate::netd::doorman {

class Counts {
public:
    enum class Result : unsigned char { granted, login, refused };
    void note_admission(std::string_view listener, Result result);
    // `mechanism`: one that is offered; empty: another one.
    void note_login(std::string_view mechanism, bool good);
    void note_throttled();

    // All of it; the mechanisms are those that clients can have, with and without encryption below.
    [[nodiscard]] metrics::Samples read(const Expiry& expiry, const std::vector<std::string>& mechanisms,
                                        const std::vector<std::string>& more) const;

private:
    metrics::Tally tally_;
};

}  // namespace virtgate::netd::doorman
