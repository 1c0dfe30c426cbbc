// SPDX-License-Identifier: LGPL-2.1-or-later
// login - proving to a server who we are, before anything else is asked of it. Internal: see connection.h.
#pragma once

#include "libshared/client/core.h"

namespace virtgate::client {

// Asks what the server wants, and does it: nothing, SASL, or polkit (which the server asks of the desktop
// itself). Error: Cause::denied, or the call's.
[[nodiscard]] Done log_in(Core& core, const Uri& uri, const Options& options);

}  // namespace virtgate::client
