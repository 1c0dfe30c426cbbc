// SPDX-License-Identifier: LGPL-2.1-or-later
// memory - what is written does not become code, and what is constant stays so.
//
// Limits: both hold for the whole process, whichever thread asks. Neither can be taken back.
#pragma once

#include "libshared/confine/report.h"

namespace virtgate::confine {

// prctl(2) PR_SET_MDWE and PR_GET_MDWE: newer than the headers of the oldest system that we build on.
inline constexpr int k_set_mdwe = 65;
inline constexpr int k_get_mdwe = 66;

// From now on the kernel refuses (EACCES) a mapping that is writable and executable, and to make one
// executable that was not. Does no harm where it has been done already.
// Source: prctl(2) PR_SET_MDWE, Linux 6.3; what is older lacks it.
Done forbid_writable_code(Report& report);

// The same for everything that this program and its libraries were loaded as: code, constants, and the tables through
// which calls go. None of it can be mapped anew, unmapped or given other rights from now on.
// Source: dl_iterate_phdr(3), mseal(2), Linux 6.10; what is older lacks it.
Done seal_image(Report& report);

}  // namespace virtgate::confine
