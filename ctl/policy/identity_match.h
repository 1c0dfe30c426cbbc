// SPDX-License-Identifier: LGPL-2.1-or-later
// identity_match - why a client is, or is not, an identity of the policy.
//
// Limits: pure; time in proportion to identities times the client's names.
#pragma once

#include <string>
#include <vector>

#include "policy/table.h"

namespace virtgate::ctl::policy {

// The tests of `rule` that `who`, who has passed it, has passed: "x509 CN", "san_dns", "sasl", "mechanism",
// "unix", "source", "tls", "client_cert", "ssf". Of alternatives, those of the first that it passes.
[[nodiscard]] std::vector<std::string> passed_tests(const virtgate::policy::Table::Rule& rule,
                                                    const proto::who::Who& who);

// An identity that the client would have but for one thing.
struct AlmostMatch {
    const virtgate::policy::Table::Rule* rule = nullptr;
    std::string test{};  // which one; as above
};
[[nodiscard]] std::vector<AlmostMatch> almost_matches(const virtgate::policy::Table& table,
                                                      const proto::who::Who& who);

}  // namespace virtgate::ctl::policy
