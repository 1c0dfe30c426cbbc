// SPDX-License-Identifier: LGPL-2.1-or-later
// reload_signals - SIGHUP and SIGUSR1, which must find somebody who handles them.
#include "lockd/holder/reload_signals.h"

#include <csignal>

namespace virtgate::lockd::holder {

namespace {

void change_mask(int how) noexcept {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(how, &set, nullptr);
}

}  // namespace

void block_reload_signals() noexcept { change_mask(SIG_BLOCK); }
void unblock_reload_signals() noexcept { change_mask(SIG_UNBLOCK); }

}  // namespace virtgate::lockd::holder
