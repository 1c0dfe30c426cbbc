// SPDX-License-Identifier: LGPL-2.1-or-later
// environment - where libvirt's clients look for sockets, certificates and passwords.
//
// Everything is computed from an Environment, so that a test needs no other user and no other machine.
//
// Trust:  the environment variables are the caller's own. A program that runs for somebody else's sake
//         (set-uid) gets none of them: of_process() reads them with secure_getenv().
// Source: docs/protocol.md, URIs and TLS; the directories are libvirt's.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "libshared/client/uri.h"

namespace virtgate::client {

struct Environment {
    bool is_root = false;
    std::string home;              // $HOME, or the user's directory
    std::string config_directory;  // $XDG_CONFIG_HOME/libvirt, or ~/.config/libvirt
    std::string run_directory;     // $XDG_RUNTIME_DIR/libvirt, or ~/.cache/libvirt
    std::string auth_file;         // $LIBVIRT_AUTH_FILE
    // Whether a file (a socket) is there.
    std::function<bool(const std::string& path)> exists;

    [[nodiscard]] static Environment of_process();
};

// The path of the socket for a URI of the transport unix, or for a socket at the other end of an ssh tunnel
// that is known here. With Mode::automatic the daemon of one driver is taken if its socket is there, and
// libvirtd's otherwise. Error: Cause::invalid, if there is no read-only socket in this place or the driver
// has no daemon of its own.
[[nodiscard]] Result<std::string> find_socket(const Uri& uri, bool read_only, const Environment& environment);

// libvirtd's socket as a peer at the far end of a tunnel has it, which cannot be looked at: `mode` automatic
// is legacy.
[[nodiscard]] Result<std::string> remote_socket(const Uri& uri, bool read_only);

// Files of TLS. An empty path: there is none, and it can do without.
struct PkiPaths {
    std::string authorities, revoked, certificate, key;
    bool operator==(const PkiPaths&) const = default;
};

// `directory` (pkipath) if that is given, with no other; otherwise the user's, where what is missing there is
// the machine's: authorities and revocation list each for itself, certificate and key together.
// Error: Cause::invalid, if the authorities are nowhere, or a certificate is there without its key.
[[nodiscard]] Result<PkiPaths> find_pki(const std::string& directory, const Environment& environment);

// The file with user names and passwords: `wanted` (authfile) if that is given, or the first that is there of
// $LIBVIRT_AUTH_FILE, the user's and the machine's. Empty: none.
[[nodiscard]] std::string find_auth_file(const std::string& wanted, const Environment& environment);

}  // namespace virtgate::client
