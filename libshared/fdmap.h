// SPDX-License-Identifier: LGPL-2.1-or-later
// fdmap - the numbers of the descriptors that a child inherits from its parent.
//
// The only place where these numbers are written. A child moves nothing: it owns exactly these descriptors and the
// three standard ones when its main() begins.
#pragma once

namespace virtgate::fdmap {

// Every child.
inline constexpr int k_config =
    3;  // sealed memfd: the XDR-encoded configuration of its role (proto/config.x)
inline constexpr int k_control = 4;  // SOCK_SEQPACKET channel to the parent (proto/supervise.x, proto/work.x)

// By role, from here on.
inline constexpr int k_first_extra = 5;
// Where a role's descriptor is not configured, /dev/null holds its place.
inline constexpr int k_gate_tls_listener = 5;  // gate: the listening TCP socket for TLS, shared by all gates
inline constexpr int k_gate_tcp_listener = 6;  // gate: the one without encryption
inline constexpr int k_doorman_local_listener = 5;            // doorman: the listening UNIX socket
inline constexpr int k_doorman_local_read_only_listener = 6;  // doorman: the one for those who only read
inline constexpr int k_steward_listener = 5;         // steward: the administrators' listening UNIX socket
inline constexpr int k_exporter_listener = 5;        // exporter: the listening socket for HTTP
inline constexpr int k_keeper_key = 5;               // keeper: the private key's file, open for reading
inline constexpr int k_locker_own_listener = 5;      // locker: the listening UNIX socket of virtgate's own
inline constexpr int k_locker_libvirt_listener = 6;  // locker: the one in virtlockd's place
inline constexpr int k_policy_result = 5;            // policy compiler: the memory file to write the table to

// No number above this one is written here.
inline constexpr int k_last = 6;

}  // namespace virtgate::fdmap
