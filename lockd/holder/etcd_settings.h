// SPDX-License-Identifier: LGPL-2.1-or-later
// etcd_settings - what lockd.toml says of lock spaces in etcd.
//
//     [[etcd]]
//     path = "/etcd"                          # what clients call the lock space
//     endpoints = ["https://10.0.0.1:2379", "https://10.0.0.2:2379", "https://10.0.0.3:2379"]
//     prefix = "/virtgate/"                   # of all keys
//     ttl = 30
//     timeout = 3
//     ca_file = "/etc/virtgate/etcd-ca.pem"   # for https
//     certificate_file = ""
//     key_file = ""
//     user = ""
//     password_file = ""
//
// Trust:  the file is the administrator's. Secrets are read when a leaser is started, and are not kept.
#pragma once

#include <string>
#include <vector>

#include "libshared/base/log.h"
#include "libshared/config/document.h"
#include "proto/config.h"

namespace virtgate::lockd::holder {

struct EtcdSettings {
    std::string path{};
    std::vector<std::string> endpoints{};
    std::string prefix{};
    std::uint32_t ttl = 30;  // s
    Milliseconds timeout{3'000};
    std::string ca_file{}, certificate_file{}, key_file{};
    std::string user{}, password_file{};
    bool operator==(const EtcdSettings&) const = default;

    [[nodiscard]] bool is_encrypted() const noexcept;
    [[nodiscard]] std::vector<std::uint16_t> ports() const;
    // A server is known by name only.
    [[nodiscard]] bool has_names() const;
};

// Every [[etcd]] of the file.
[[nodiscard]] std::vector<EtcdSettings> read_etcd(config::Section& root);

// What the leaser gets of it. Error: system's fault, a file that cannot be read.
[[nodiscard]] Result<proto::config::LeaserConfig> make_leaser_config(const EtcdSettings& settings,
                                                                     Level log_level,
                                                                     proto::config::SandboxMode sandbox);

}  // namespace virtgate::lockd::holder
