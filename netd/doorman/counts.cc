// SPDX-License-Identifier: LGPL-2.1-or-later
// counts - what doorman has decided, by numbers.
#include "netd/doorman/counts.h"

namespace virtgate::netd::doorman {

using metrics::Family;

void Counts::note_admission(std::string_view listener, Result result) {
    constexpr std::string_view k_results[] = {"granted", "login", "refused"};
    const std::string_view known = listener == "tcp" || listener.starts_with("unix") ? listener : "tls";
    tally_.add(Family::admissions, {known, k_results[static_cast<std::size_t>(result)]}, 1);
}

void Counts::note_login(std::string_view mechanism, bool good) {
    tally_.add(Family::logins, {mechanism.empty() ? "other" : mechanism, good ? "ok" : "failed"}, 1);
}

void Counts::note_throttled() { tally_.add(Family::logins_throttled, {}, 1); }

// What has not happened yet is there with 0: a rate needs a beginning.
metrics::Samples Counts::read(const Expiry& expiry, const std::vector<std::string>& mechanisms,
                              const std::vector<std::string>& more) const {
    metrics::Tally all = tally_;
    for (const auto* list : {&mechanisms, &more})
        for (const std::string& mechanism : *list)
            for (const char* result : {"ok", "failed"}) all.add(Family::logins, {mechanism, result}, 0);
    all.add(Family::logins_throttled, {}, 0);
    for (const char* result : {"granted", "login", "refused"})
        all.add(Family::admissions, {"tls", result}, 0);
    const auto ends = [&](std::string_view what, std::time_t when) {
        if (when > 0) all.set_least(Family::certificate_expiry, {what}, static_cast<std::uint64_t>(when));
    };
    ends("server", expiry.server);
    ends("ca", expiry.authorities);
    ends("crl", expiry.revoked);
    return all.samples();
}

}  // namespace virtgate::netd::doorman
