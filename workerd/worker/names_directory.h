// SPDX-License-Identifier: LGPL-2.1-or-later
// names_directory - the links that keep names true, one for each way to a daemon that sessions use.
//
// Trust:  as in names_link.h.
// Limits: no more links than sessions. Sessions from the network that came with the same certificate or login share
//         one; of local clients, whom the daemon knows by their process, each process has its own.
// Owns:   nothing; sessions own the links.
#pragma once

#include <memory>
#include <vector>

#include "workerd/worker/names_link.h"

namespace virtgate::workerd::worker {

class NamesDirectory {
public:
    // `timeout`: for opening. The others have to outlive it and its links.
    NamesDirectory(loop::Loop& loop, Scratch& scratch, Connector& connector, Milliseconds timeout) noexcept
        : loop_(loop), scratch_(scratch), connector_(connector), timeout_(timeout) {}

    // The link of that way, for as long as it is kept; null if nothing may be kept of what is called how there: see
    // announces_all().
    [[nodiscard]] std::shared_ptr<NamesLink> use(NamesLink::Way way);

    // Those that are in use.
    [[nodiscard]] std::size_t size() const noexcept;

private:
    loop::Loop& loop_;
    Scratch& scratch_;
    Connector& connector_;
    const Milliseconds timeout_;
    std::vector<std::weak_ptr<NamesLink>> links_;
};

// True if the driver behind the URI is known to announce whatever changes a name, and if all connections with that URI
// have the same objects. libvirt's test driver makes new ones for each connection unless it is test:///default.
[[nodiscard]] bool announces_all(std::string_view uri) noexcept;

}  // namespace virtgate::workerd::worker
