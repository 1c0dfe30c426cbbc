// SPDX-License-Identifier: LGPL-2.1-or-later
// settings - what netd.toml says, and the files that it names.
//
// Trust:  the file and what it names belong to the administrator. Certificates are only looked at from
//         outside here (they have to look like PEM); keeper, gates and doorman parse them.
// Owns:   Pki owns the texts; the private key is never read here, only opened.
#pragma once

#include <string>

#include "libshared/base/fd.h"
#include "libshared/base/log.h"
#include "proto/config.h"

namespace virtgate::netd {

struct Settings {
    Level log_level = Level::info;
    unsigned gates = 1;       // already the number of cores where the file says 0
    bool user_switch = true;  // started as root: give the children users of their own
    std::string address;      // a numeric address, or "localhost"
    std::uint16_t port = 0;   // 0: any free one
    std::string certificate_file, key_file, ca_file, crl_file;  // crl_file may be empty
    std::string priority;
    std::string broker_socket;
    proto::config::ClientLimits limits;
    proto::config::KeepaliveConfig keepalive;
};

// Reads `path`. Error: system's fault: the complaints, one per line.
Result<Settings> read_settings(const std::string& path);

// The PEM texts.
struct Pki {
    std::string certificate, authorities, revoked;
};

// Reads the files of `settings`. Error: system's fault: a file is missing, unreadable or of another kind.
Result<Pki> read_pki(const Settings& settings);

// Opens the private key's file, with a file offset of its own. Error: system's fault; also if the group or
// others may read or write the file.
Result<UniqueFd> open_key(const Settings& settings);

}  // namespace virtgate::netd
