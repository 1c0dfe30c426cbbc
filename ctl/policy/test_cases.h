// SPDX-License-Identifier: LGPL-2.1-or-later
// test_cases - what a policy is meant to allow and to refuse, in files beside it: *.policytest.toml
//
//     version = 1
//     [[case]]
//     identity = "acme"                                  # or what the client shows: sasl, mechanism, subject, san_dns,
//     call     = ["DOMAIN_CREATE", "domain=acme-web"]    # source, uid, gid
//     listener = "tls"                                   # the default
//     expect   = "allow"                                 # or "deny"
//
// A client that is no identity, or two, is denied everything.
//
// Trust:  the files are the administrator's. A key that is not known is an error: a case must not test less
//         than it says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ctl/policy/loaded.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::policy {

// Files with cases are called so.
inline constexpr std::string_view k_test_suffix = ".policytest.toml";

struct FailedCase {
    virtgate::policy::Place at{};
    std::string identity{};  // empty: none
    std::string call{};
    std::string expected{};  // "allow" or "deny"
    std::string reason{};    // of the decision: "object"
};

struct TestRun {
    std::size_t cases = 0;
    std::vector<FailedCase> failed{};
};

// Runs all cases in `directories`, which `policy` was loaded from. Error: a file cannot be read, or is wrong.
[[nodiscard]] Result<TestRun> run_tests(const std::vector<std::string>& directories, const Loaded& policy);

}  // namespace virtgate::ctl::policy
