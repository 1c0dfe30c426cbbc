// SPDX-License-Identifier: LGPL-2.1-or-later
// event_base - libevent's own object behind a loop, for rooms that use more of that library.
#pragma once

#include "libshared/loop/loop.h"

struct event_base;

namespace virtgate::loop {

// Borrowed. `loop` has to be from make_event_loop().
[[nodiscard]] event_base* event_base_of(Loop& loop) noexcept;

}  // namespace virtgate::loop
