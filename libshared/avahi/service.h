// SPDX-License-Identifier: LGPL-2.1-or-later
// service - what a server of libvirt's protocol is called in multicast DNS.
//
// Source: RFC 6763 (names of instances, TXT records); the type is the one that libvirt's daemon published itself until it
//         lost that in 5.5.0, without any TXT record. The keys are virtgate's own.
#pragma once

#include <cstddef>

namespace virtgate::avahi {

inline constexpr char k_service_type[] = "_libvirt._tcp";
// Bytes of UTF-8 in the name of an instance: a label of DNS.
inline constexpr std::size_t k_name_max = 63;
// The name of who has not chosen one is this, and the machine's; libvirt's daemon had the same.
inline constexpr char k_default_name[] = "Virtualization Host";

// TXT record.
inline constexpr char k_key_product[] = "product";      // "virtgate"
inline constexpr char k_key_version[] = "version";      // of virtgate
inline constexpr char k_key_transport[] = "transport";  // of libvirt's URIs: "tls"
inline constexpr char k_product[] = "virtgate";
inline constexpr char k_transport_tls[] = "tls";

}  // namespace virtgate::avahi
