// SPDX-License-Identifier: LGPL-2.1-or-later
// reload_signals - SIGHUP and SIGUSR1, which must find somebody who handles them.
//
// An exec takes all handlers away, and what these two do by themselves is to end the process. Blocked signals stay blocked
// over an exec, and one that comes meanwhile waits: so the holder blocks them before it executes itself, and whoever
// starts blocks them first and lets them come when it has handlers.
#pragma once

namespace virtgate::lockd::holder {

void block_reload_signals() noexcept;
void unblock_reload_signals() noexcept;

}  // namespace virtgate::lockd::holder
