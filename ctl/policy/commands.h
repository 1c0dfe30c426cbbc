// SPDX-License-Identifier: LGPL-2.1-or-later
// commands - what "virtgate policy" can do, one function for each of its commands. They are in
// check_command.cc, explain_command.cc, diff_command.cc, edit_command.cc and audit_command.cc.
//
// Each prints its answer to standard output, what went wrong to standard error, and returns the exit status
// (virtgate-policy(1)).
#pragma once

#include "ctl/policy/options.h"

namespace virtgate::ctl::policy {

[[nodiscard]] int run_check(const Options& options);
[[nodiscard]] int run_show(const Options& options);

[[nodiscard]] int run_explain(const Options& options);
[[nodiscard]] int run_who_can(const Options& options);
[[nodiscard]] int run_matrix(const Options& options);

[[nodiscard]] int run_diff(const Options& options);
[[nodiscard]] int run_test(const Options& options);

[[nodiscard]] int run_edit(const Options& options);

[[nodiscard]] int run_explain_past(const Options& options);  // explain --at
[[nodiscard]] int run_learn(const Options& options);
[[nodiscard]] int run_unused(const Options& options);

}  // namespace virtgate::ctl::policy
