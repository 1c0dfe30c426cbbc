// SPDX-License-Identifier: LGPL-2.1-or-later
// test_cases - what a policy is meant to allow and to refuse, in files beside it: *.policytest.toml
//
//     [[case]]
//     identity = "acme"
//     call     = ["DOMAIN_CREATE", "domain=acme-web"]
//     listener = "tls"                                   # the default
//     expect   = "allow"                                 # or "deny"
//
// Trust:  the files are the administrator's.
#pragma once

#include <string>
#include <vector>

#include "libshared/base/result.h"
#include "policy/table.h"

namespace virtgate::ctl::policy {

struct TestRun {
    std::size_t cases = 0;
    std::size_t failed = 0;
    std::string text{};  // the cases that failed, one per line
};

// Runs all cases in `directories`. Error: a file cannot be read, or is wrong.
[[nodiscard]] Result<TestRun> run_tests(const std::vector<std::string>& directories,
                                        const virtgate::policy::Table& table);

// All of a file.
[[nodiscard]] Result<std::string> read_text(const std::string& path);

}  // namespace virtgate::ctl::policy
