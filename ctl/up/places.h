// SPDX-License-Identifier: LGPL-2.1-or-later
// places - what lies where in the directory of "virtgate up".
//
//   DIR/pki          the throwaway authority (ctl/pki/throwaway.h)
//   DIR/etc          netd.toml, workerd.toml, lockd.toml, policy.d/
//   DIR/run          sockets, and netd.toml with the port in use, while it runs
//   DIR/lockspaces   where lock spaces may be
//   DIR/pools        where pools of the store may be; the pool "default" is DIR/pools/default
//   DIR/store        what the store knows of its pools
//   DIR/audit.jsonl  the record of decisions
//   DIR/ready        "tls_port=N", and "tcp_port=N" with plain TCP, while clients are served
//
// Limits: the sockets' paths have to fit into the 107 bytes that the kernel has for them.
#pragma once

#include <string>

#include "libshared/base/fd.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::up {

struct Places {
    explicit Places(const std::string& directory);

    std::string directory;
    std::string pki, pki_client;
    std::string etc, netd_toml, workerd_toml, lockd_toml, policy_directory, policy_file, programs_directory;
    std::string run, broker_socket, notify_socket, local_socket, admin_socket, users, restart_toml;
    std::string lock_socket, lock_state, lock_spaces;
    std::string pools, default_pool, store_state;
    std::string audit_file, ready;
};

// Makes the directories that are missing (but not pki) and takes the directory for this process: a second
// "virtgate up" in it is refused until the returned descriptor is closed. Removes a `ready` that was left
// behind.
// Error: system's fault; the text says what to do.
Result<UniqueFd> occupy(const Places& places);

}  // namespace virtgate::ctl::up
