// SPDX-License-Identifier: LGPL-2.1-or-later
// places - where certificates are when nobody says where: ours, and libvirt's.
//
// Trust:  HOME and XDG_DATA_HOME are the user's own.
#pragma once

#include <string>

#include "ctl/pki/bundle.h"

namespace virtgate::ctl::pki {

// False for an empty path.
[[nodiscard]] bool exists(const std::string& path);

// The store of "virtgate pki": /etc/virtgate/pki for root, else ~/.local/share/virtgate/pki (below
// XDG_DATA_HOME if that is set). Empty if the user has no home.
[[nodiscard]] std::string default_directory();

// Where virtgate-netd looks first: /etc/virtgate/tls.
[[nodiscard]] std::string netd_directory();

// The files with which libvirt's daemon or client works.
struct Files {
    std::string ca, crl, certificate, key;  // paths; empty: there is none
};

// The files of a URI's "pkipath", or of any directory with a bundle.
[[nodiscard]] Files files_in(const std::string& directory, Kind kind);

// libvirt's standard places: those of the system for root, for others ~/.pki/libvirt, with the system's for
// what is missing there (certificate and key together). Paths are given whether the files exist or not.
[[nodiscard]] Files libvirt_files(Kind kind);

}  // namespace virtgate::ctl::pki
