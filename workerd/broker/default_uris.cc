// SPDX-License-Identifier: LGPL-2.1-or-later
// default_uris - the URIs that clients may open when the configuration lists none.
#include "workerd/broker/default_uris.h"

#include <fmt/format.h>

#include <array>

namespace virtgate::workerd::broker {

namespace {

constexpr std::string_view k_monolithic = "libvirt";

// Every spelling that libvirt's drivers accept for the local system instance. The test driver is part of the
// monolithic daemon only.
struct Driver {
    std::string_view daemon;  // the modular one; empty: none
    std::array<std::string_view, 2> uris;
};
constexpr std::array k_drivers{
    Driver{"virtqemud", {"qemu:///system", {}}},
    Driver{"virtlxcd", {"lxc:///system", "lxc:///"}},
    Driver{"virtchd", {"ch:///system", {}}},
    Driver{"virtxend", {"xen:///system", "xen:///"}},
    Driver{"virtvboxd", {"vbox:///system", {}}},
    Driver{"virtvzd", {"vz:///system", {}}},
    Driver{"virtbhyved", {"bhyve:///system", {}}},
    Driver{"virtnetworkd", {"network:///system", {}}},
    Driver{"virtstoraged", {"storage:///system", {}}},
    Driver{"virtnodedevd", {"nodedev:///system", {}}},
    Driver{"virtinterfaced", {"interface:///system", {}}},
    Driver{"virtnwfilterd", {"nwfilter:///system", {}}},
    Driver{"virtsecretd", {"secret:///system", {}}},
    Driver{"", {"test:///default", {}}},
};

}  // namespace

std::vector<UpstreamRow> default_uris(std::string_view directory) {
    std::vector<UpstreamRow> rows;
    for (const Driver& driver : k_drivers) {
        for (const std::string_view uri : driver.uris) {
            for (const std::string_view daemon : {driver.daemon, k_monolithic}) {
                if (uri.empty() || daemon.empty()) continue;
                rows.push_back({.uri = std::string(uri),
                                .socket = fmt::format("{}/{}-sock", directory, daemon),
                                .read_only_socket = fmt::format("{}/{}-sock-ro", directory, daemon)});
            }
        }
    }
    return rows;
}

}  // namespace virtgate::workerd::broker
