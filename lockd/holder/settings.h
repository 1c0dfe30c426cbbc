// SPDX-License-Identifier: LGPL-2.1-or-later
// settings - what lockd.toml says.
//
//     log_level = "info"                      # and log_filters, log_outputs: libshared/logging/settings.h
//     sandbox = "best-effort"
//     socket = "/run/virtgate/lockd.sock"
//     libvirt_socket = ""                     # "/run/libvirt/virtlockd-sock": in virtlockd's place
//     users = ["root"]                        # who may connect, beside the daemon's own user
//     session_users = ["_virtgate-work"]      # who may begin sessions of the front door, beside root and that user
//     max_clients = 20000
//     locks_per_identity = 1024               # at a time, of one identity of the front door
//     lock_spaces = ["/var/lib/virtgate/lockspaces", "/var/lib/libvirt/lockd"]
//     direct = ["/var/lib/libvirt/images"]    # whose files may be locked themselves
//     fencing = true
//     state_directory = "/run/virtgate/lockd"
//     [[etcd]]                                # etcd_settings.h
//
// Trust:  the file is the administrator's.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "libshared/logging/settings.h"
#include "libshared/base/result.h"
#include "lockd/holder/etcd_settings.h"
#include "proto/config.h"

namespace virtgate::lockd::holder {

struct Settings {
    logging::Settings log{};
    proto::config::SandboxMode sandbox{};
    std::string socket{};
    std::string libvirt_socket{};  // empty: none
    std::vector<uid_t> users{};    // never empty
    std::vector<uid_t> session_users{};
    std::uint32_t max_clients = 20'000;
    std::uint32_t locks_per_identity = 1'024;
    std::vector<std::string> lock_spaces{};
    std::vector<std::string> direct{};  // empty: no file may
    bool fencing = true;
    std::string state_directory{};
    std::vector<EtcdSettings> etcd{};
};

// The settings in the file `path`. Error: system's fault, all complaints, separated by newlines.
[[nodiscard]] Result<Settings> load_settings(const std::string& path);
// What is set in it and what is not, for "virtgate config" (config::list_answers). Error: as above.
[[nodiscard]] Result<std::string> list_settings(const std::string& path);
// The same from `text`; `file` is its name in complaints.
[[nodiscard]] Result<Settings> parse_settings(std::string_view text, std::string file);

// What the locker gets of them.
[[nodiscard]] proto::config::LockerConfig make_locker_config(const Settings& settings);

}  // namespace virtgate::lockd::holder
