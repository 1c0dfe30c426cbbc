// SPDX-License-Identifier: LGPL-2.1-or-later
// violations - names the call that a filter with OnViolation::trap has refused, then lets it end the process.
//
// For tests and for finding a missing row. In service nothing is trapped: the supervisor sees SIGSYS, and the
// kernel's audit log has the number.
#pragma once

#include "libshared/base/result.h"

namespace virtgate::confine {

// Before the filter is loaded. At a violation one line is written to standard error:
//   <3>system call violation: openat (257) 0xffffff9c 0x7ffc… 0x0 0x1b6 0x0 0x0
// with the six arguments, and the process ends with SIGSYS as it would without this. The filter has to allow
// write.
// Error: system's fault.
Done tell_violations();

}  // namespace virtgate::confine
