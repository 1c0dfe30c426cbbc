// SPDX-License-Identifier: LGPL-2.1-or-later
// settings - what workerd.toml says.
//
//     log_level = "info"                   # and log_filters, log_outputs: libshared/logging/settings.h
//     default_uri = "qemu:///system"       # for clients that name none
//     upstream_timeout = 30                # seconds until a libvirt daemon has to have opened a connection
//     lockd_socket = "/run/virtgate/lockd.sock"    # where the lock daemon is; empty: nobody may lock
//     [broker]
//     socket = "/run/virtgate/broker.sock"
//     allowed_user = "_virtgate-auth"      # who may ask for sessions
//     [limits]
//     sessions = 16384                     # at a time, of all clients
//     sessions_per_identity = 4096
//     [worker]
//     user = "_virtgate-work"              # only with user_switch
//     [audit]
//     journal = true                       # records of decisions go to systemd's journal
//     file = "/var/log/virtgate/audit.jsonl"   # and to this file, if it is not empty
//     journal_socket = "/run/systemd/journal/socket"
//     user = "_virtgate-audit"             # only where the broker runs as root
//     [policy]
//     directories = ["/usr/lib/virtgate/policy.d", "/etc/virtgate/policy.d"]
//     [programs]                           # of others, one file for each; see libshared/programs
//     directory = "/etc/virtgate/programs.d"
//     [store]                              # virtgate:///, without a libvirt daemon; off without directories
//     directories = ["/srv/images"]        # beneath which pools may be
//     default_pool = "/srv/images/default" # a store without a pool makes one there
//     state_directory = "/var/lib/virtgate/store"
//     locks = true                         # no volume is written without a lock of the lock daemon
//     lock_space = ""                      # where: this directory, as file_lockspace_dir of libvirt's; empty: the volume itself
//     user = "_virtgate-store"             # only where the broker runs as root
//     [[upstream]]                         # any number; without one libvirt's own sockets (default_uris.h)
//     uri = "qemu:///system"
//     socket = "/run/libvirt/libvirt-sock"
//     read_only_socket = "/run/libvirt/libvirt-sock-ro"
//
// Trust:  the file is the administrator's.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "libshared/base/clock.h"
#include "libshared/base/result.h"
#include "libshared/logging/settings.h"
#include "libshared/programs/programs.h"
#include "libshared/spawn/user.h"
#include "proto/config.h"
#include "workerd/broker/default_uris.h"

namespace virtgate::workerd::broker {

// Whose level can be set by itself.
inline constexpr std::string_view k_log_names[] = {"workerd", "worker", "auditor", "store", "program"};

struct Settings {
    std::string file{};          // where these were read
    bool in_background = false;  // no terminal and no service manager
    logging::Settings log;
    proto::config::SandboxMode sandbox{};
    bool user_switch = false;  // started as root: the children get users of their own
    std::string default_uri{};
    Milliseconds upstream_timeout{30'000};
    std::size_t sessions_max = 16'384;
    std::size_t sessions_per_identity_max = 4'096;
    std::string lockd_socket{};
    std::string socket{};
    std::optional<gid_t> socket_group{};       // to give the socket to; only where the broker runs as root
    std::vector<uid_t> allowed_uids{};         // never empty
    std::optional<spawn::User> worker_user{};  // none: the broker's own
    std::vector<std::string> policy_directories{};
    bool audit_journal = true;
    std::string journal_socket{};             // empty: where systemd's journal listens
    std::string audit_file{};                 // empty: none
    std::optional<spawn::User> audit_user{};  // none: the broker's own
    std::vector<UpstreamRow> upstreams{};
    proto::config::StoreConfig store{};       // without directories: none
    std::optional<spawn::User> store_user{};  // none: the broker's own
    std::vector<programs::Announced> programs{};
    std::vector<std::optional<spawn::User>> program_users{};  // of each; none: the broker's own
};

// The settings in the file `path`. Error: system's fault, all complaints, separated by newlines.
[[nodiscard]] Result<Settings> load_settings(const std::string& path);
// What is set in it and what is not, for "virtgate config" (config::list_answers). Error: as above.
[[nodiscard]] Result<std::string> list_settings(const std::string& path);
// The same from `text`; `file` is its name in complaints.
[[nodiscard]] Result<Settings> parse_settings(std::string_view text, std::string file);

}  // namespace virtgate::workerd::broker
