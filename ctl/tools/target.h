// SPDX-License-Identifier: LGPL-2.1-or-later
// target - which server a command speaks to, and the connection to it.
//
// A URI is looked for where libvirt's users expect it: -c, $VIRTGATE_URI, $LIBVIRT_DEFAULT_URI, uri_default
// of libvirt.conf; without any, the server that is at libvirt's socket chooses. What is given may be one of
// uri_aliases.
//
// Trust: the environment and libvirt.conf are the caller's own.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "libshared/client/connection.h"

namespace virtgate::ctl::tools {

// Seconds until a server has to be connected to.
constexpr unsigned k_connect_seconds = 30;

struct Target {
    std::string uri;  // -c; empty: not given
    bool read_only = false;
    unsigned seconds = k_connect_seconds;
};

// What libvirt.conf(5) has for clients. Source: libvirt's documentation of URIs.
struct ClientConf {
    std::string uri_default;
    std::vector<std::pair<std::string, std::string>> aliases;  // name, URI

    // Of the text of the file. Settings of other names are passed over. Error: Cause::invalid, with the line.
    [[nodiscard]] static client::Result<ClientConf> parse(std::string_view text);
};

// The caller's libvirt.conf: the machine's for root, one's own for others. Empty if there is none.
[[nodiscard]] client::Result<ClientConf> load_conf(const client::Environment& environment);

// The URI of `target`. Error: Cause::invalid.
[[nodiscard]] client::Result<client::Uri> find_uri(const Target& target,
                                                   const client::Environment& environment);

// Connects, logs in (asking on the terminal for what auth.conf does not have), opens. Callbacks run in a
// thread of the connection's own. `raw`: without login and open.
[[nodiscard]] client::Result<client::Connection> open(const Target& target, const std::stop_token& stop,
                                                      bool raw = false);
// The same, and again when it was lost, until `stop`. Who has answered for the login is not asked twice.
[[nodiscard]] client::Result<client::Connection> open_for_long(
    const Target& target, const std::stop_token& stop, std::function<void(const client::Change&)> on_change);
// Without login and open, at this UNIX socket.
[[nodiscard]] client::Result<client::Connection> open_socket(const std::string& path, const Target& target,
                                                             const std::stop_token& stop);

}  // namespace virtgate::ctl::tools
