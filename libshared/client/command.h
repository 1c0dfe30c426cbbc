// SPDX-License-Identifier: LGPL-2.1-or-later
// command - a program whose standard input and output carry the bytes: ssh, or anything else.
//
// Trust:  words of a URI become words of a command line here and, with ssh, of a shell at the far end:
//         everything is quoted for that shell, and nothing that starts with "-" can take the place of a host.
// Owns:   the child. Its end is awaited when the Channel is destroyed: it is asked to end (SIGTERM), and
//         killed a second later if it has not.
// Source: docs/protocol.md, SSH tunnel.
#pragma once

#include <string>
#include <vector>

#include "libshared/client/transport.h"

namespace virtgate::client {

// `text` as one word of a POSIX shell.
[[nodiscard]] std::string quote_word(std::string_view text);

// ssh with its arguments for this URI. At the far end it starts virt-ssh-helper, or a netcat to libvirtd's
// socket. Error: Cause::invalid, if there is no such socket.
[[nodiscard]] Result<std::vector<std::string>> ssh_command(const Uri& uri, bool read_only, bool is_root);

// Starts words[0], searched in $PATH. It gets the variables that ssh and its helpers need, and no others. It
// keeps the terminal, so that it can ask for a password there.
// Error: Cause::unreachable, if it cannot be started.
[[nodiscard]] Result<std::unique_ptr<Channel>> start_command(const std::vector<std::string>& words,
                                                             bool is_secure);

}  // namespace virtgate::client
