// SPDX-License-Identifier: LGPL-2.1-or-later
// uri - from a local libvirt URI to the one that leads through virtgate.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace virtgate::ctl::up {

// "qemu:///system" becomes "qemu+tls://localhost:PORT/system?pkipath=DIR"; a query that it has stays before
// pkipath. `pkipath` is an absolute path; what is special in a URI or in a shell's word is escaped as %XX.
[[nodiscard]] std::string tls_uri(std::string_view local, std::uint16_t port, std::string_view pkipath);

}  // namespace virtgate::ctl::up
