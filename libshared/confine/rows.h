// SPDX-License-Identifier: LGPL-2.1-or-later
// rows - system calls that several processes need, in groups, each with its reason.
//
// A process takes the groups that it needs and adds its own table. Which calls these are was observed under
// load; those of rare paths (a long malloc, a clock without vDSO) are from what the libraries do.
#pragma once

#include <span>

#include "libshared/confine/filter.h"

namespace virtgate::confine {

// Every process, always: memory without code, time, locks, the given descriptors, the end.
[[nodiscard]] std::span<const Row> runtime_rows() noexcept;

// Who waits with libshared/loop.
[[nodiscard]] std::span<const Row> loop_rows() noexcept;

// Who speaks in packets (libshared/channel) over sockets that are there.
[[nodiscard]] std::span<const Row> channel_rows() noexcept;

// What changes a socket for all who have it: its end, its flags. For sockets that came later than the descriptors of
// libshared/fdmap.h: a listener is shared with other processes, and one of them must not end it for all.
[[nodiscard]] std::span<const Row> own_socket_rows() noexcept;

}  // namespace virtgate::confine
