// SPDX-License-Identifier: LGPL-2.1-or-later
// output - what a command tells its user, and with which exit status.
#pragma once

#include <string_view>

#include "libshared/base/result.h"

namespace virtgate::ctl {

// Says "virtgate: TEXT" on standard error and hands back `status`.
int say(std::string_view text, int status);

// The same for a failure: hands back spawn::status_of(error, otherwise), which is the status for what `error` is about.
int say(const Error& error, int otherwise);

// Writes `text` to standard output and hands back `status`; if it cannot be written, says so and hands back
// k_exit_system.
int show(std::string_view text, int status);

}  // namespace virtgate::ctl
