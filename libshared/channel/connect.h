// SPDX-License-Identifier: LGPL-2.1-or-later
// connect - reach a listening UNIX socket by its name, without waiting.
#pragma once

#include <string>

#include "libshared/base/fd.h"

namespace virtgate::channel {

// A non-blocking socket of `type` (SOCK_STREAM, SOCK_SEQPACKET) that is connected to the one at `path`: a UNIX socket
// connects at once or not at all. Error: system's fault, with `path`; its number is EAGAIN if the listener's queue is
// full, which passes without any notice.
[[nodiscard]] Result<UniqueFd> connect_to(const std::string& path, int type);

}  // namespace virtgate::channel
