// SPDX-License-Identifier: LGPL-2.1-or-later
// client-list - the smallest program with the client library: names and states of all domains of a server.
//
//   client-list [URI]          test:///default if none is given
#include <fmt/format.h>

#include "libshared/client/connection.h"
#include "proto/remote_client.h"

using namespace virtgate;

int main(int count, char** words) {
    // Ten seconds for everything until the first call; then each call has its own deadline, or none.
    client::Options options;
    options.read_only = true;
    options.deadline = client::Deadline::in(Milliseconds{10000});
    auto connection = client::Connection::open(count > 1 ? words[1] : "test:///default", options);
    if (!connection) {
        fmt::print(stderr, "cannot connect: {}\n", connection.error().text);
        return 1;
    }

    // Any number of threads could do this with the same connection at the same time.
    const auto all = connection->remote().connect_list_all_domains({.need_results = 1, .flags = 0});
    if (!all) {
        fmt::print(stderr, "cannot list domains: {}\n", all.error().text);
        return 1;
    }
    for (const auto& domain : all->domains) {
        const auto info = connection->remote().domain_get_info({.domain = domain});
        // Another client may have removed it since: libvirt's code 42 is no reason to stop.
        if (!info && info.error().is(42)) continue;
        if (!info) {
            fmt::print(stderr, "{}: {}\n", domain.name, info.error().text);
            return 1;
        }
        fmt::print("{:5} {:30} state {}, {} CPUs, {} MiB\n", domain.id, domain.name, info->state, info->vcpus,
                   info->memory / 1024);
    }
    return 0;
}
