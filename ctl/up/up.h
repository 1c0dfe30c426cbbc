// SPDX-License-Identifier: LGPL-2.1-or-later
// up - "virtgate up": the whole suite on one machine, without systemd and without root.
//
// Prepares the directory (places.h, ctl/pki/throwaway.h, configuration.h), starts the daemons that lie
// beside this executable, waits for each to be ready, says which URI to use, and stays until a signal ends
// everything.
#pragma once

#include "ctl/up/options.h"

namespace virtgate::ctl::up {

// Runs until SIGTERM, SIGINT or SIGHUP. Returns the exit status: 0 after such a signal, 71 when the machine
// was in the way, 78 when the configuration or a certificate was.
[[nodiscard]] int run(const Options& options);

}  // namespace virtgate::ctl::up
