// SPDX-License-Identifier: LGPL-2.1-or-later
// workshop - the store's threads: everything that touches a disk is done there.
//
// A file system may take seconds for one write, whether the step is small or not; so no step is small enough for the loop,
// and each is a job.
#pragma once

#include "libshared/server/workshop.h"

namespace virtgate::workerd::store {

using server::Workshop;

}  // namespace virtgate::workerd::store
