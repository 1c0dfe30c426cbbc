// SPDX-License-Identifier: LGPL-2.1-or-later
// migrate_uri - where a domain may be migrated to, as a pattern: SCHEME://HOST[:PORT[-PORT]].
//
//     tcp://10.20.30.0/24:49152-49215          HOST is an address or a range of addresses, ...
//     tls://glob:kvm??.dc1.example.org         ... a glob, or a name; without ports: any, or none
//     rdma://[2001:db8::]/64                   IPv6 addresses stand in brackets
//
// A user, a path and a query in a URI do not matter, except that a local socket (unix:) has no host and so fits
// no pattern but "*".
//
// Trust:  patterns come from the administrator, URIs from clients.
// Limits: comparing allocates little and takes time in proportion to pattern times URI.
#pragma once

#include <string_view>

namespace virtgate::policy {

// True if `uri` is to a place that `pattern` means.
[[nodiscard]] bool matches_migrate_uri(std::string_view pattern, std::string_view uri) noexcept;

// Why `pattern` cannot be used; empty if it can.
[[nodiscard]] std::string_view flaw_of_migrate_uri(std::string_view pattern) noexcept;

}  // namespace virtgate::policy
