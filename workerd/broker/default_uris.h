// SPDX-License-Identifier: LGPL-2.1-or-later
// default_uris - the URIs that clients may open when the configuration lists none.
//
// Source: libvirt's own socket names. Where a modular daemon serves a driver, its socket comes first and the
//         one of
// the monolithic libvirtd second: whichever is there when a client connects is used.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace virtgate::workerd::broker {

struct UpstreamRow {
    std::string uri{};
    std::string socket{};
    std::string read_only_socket{};  // empty: none
};

inline constexpr std::string_view k_default_uri = "qemu:///system";

// The table for daemons whose sockets are in `directory`.
[[nodiscard]] std::vector<UpstreamRow> default_uris(std::string_view directory = "/run/libvirt");

}  // namespace virtgate::workerd::broker
