// SPDX-License-Identifier: LGPL-2.1-or-later
// install - puts a server's certificate where virtgate-netd looks for it.
//
// Each file is replaced in one step, and only if it changes, the key before the certificate: a daemon that watches them takes
// what is written within a moment together.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ctl/pki/store.h"

namespace virtgate::ctl::pki {

struct InstallOrder {
    std::string directory;                           // made with mode 0755 if it is missing
    std::optional<std::pair<uid_t, gid_t>> owner{};  // of the key's file; nothing: who runs this
    bool replace = false;                            // also certificates of another authority
};

// Copies the files of the server `name` of `store`, and the list of revoked certificates if there is one. Returns the paths of
// those that are new or have changed. Error: system's fault; EEXIST: certificates of another authority are there.
Result<std::vector<std::string>> install_server(const Store& store, const std::string& name,
                                                const InstallOrder& order);

}  // namespace virtgate::ctl::pki
