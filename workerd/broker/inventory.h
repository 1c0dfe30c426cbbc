// SPDX-License-Identifier: LGPL-2.1-or-later
// inventory - what the broker and its processes have counted.
//
// A worker's counts stay when its process ends: those that it said last, and with them all but what it did after the last
// question.
//
// Trust:  workers, auditor and store may speak of families of their own roles; a worker of its own identity alone.
// Limits: one series for each identity that has had a session since the start, at most k_identities_max; those beyond are
//         counted together, as "other".
// Owns:   the sums.
#pragma once

#include <functional>

#include "libshared/metrics/asker.h"
#include "workerd/broker/administration.h"

namespace virtgate::workerd::broker {

class Inventory {
public:
    static constexpr std::size_t k_identities_max = 1024;

    // Asks somebody, and tells the answer: what has been counted, or what was said before.
    using Then = std::function<void(const metrics::Samples&)>;
    using Ask = std::function<void(Then)>;

    // All outlive this.
    Inventory(Crew& crew, const PolicySource& policy, const Settings& settings)
        : crew_(crew), policy_(policy), settings_(settings) {}

    // What has happened.
    void note_opened(const std::string& identity);
    void note_refused(std::string_view reason);
    void note_policy(bool accepted);

    // Others to be asked, besides the workers.
    void add(Ask ask) { others_.push_back(std::move(ask)); }

    void read(Then then);

private:
    Crew& crew_;
    const PolicySource& policy_;
    const Settings& settings_;
    metrics::Tally tally_;
    std::size_t identities_ = 0;
    std::int64_t policy_since_ = 0;
    std::vector<Ask> others_;
};

}  // namespace virtgate::workerd::broker
