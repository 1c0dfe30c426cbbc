// SPDX-License-Identifier: LGPL-2.1-or-later
// uri - libvirt's connection URIs: which server, how to reach it, and what to ask it for.
//
//     driver[+transport]://[user@][host][:port]/[path][?parameter=value&…]
//
// Trust:  a URI may come from anybody; every text is either taken or refused with a reason.
// Limits: k_uri_max bytes; a port in 1..65535; parts without control characters after their %XX are decoded.
// Source: docs/protocol.md, URIs; the names of parameters are libvirt's and are compared without regard to
//         case.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libshared/client/failure.h"

namespace virtgate::client {

constexpr std::size_t k_uri_max = 65536;

enum class Transport : unsigned char { unix_socket, tls, tcp, ssh, ext, libssh, libssh2 };

// What is at the far end of a tunnel of the ssh kinds: whatever is there, a netcat, or virt-ssh-helper.
enum class Proxy : unsigned char { automatic, netcat, native };

// Which socket to use: the daemon of one driver, libvirtd's (or virtproxyd's), or whichever is there.
enum class Mode : unsigned char { automatic, legacy, direct };

[[nodiscard]] std::string_view to_text(Transport transport) noexcept;  // "unix", "tls", …
[[nodiscard]] std::string_view to_text(Proxy proxy) noexcept;          // "auto", "netcat", "native"
[[nodiscard]] std::string_view to_text(Mode mode) noexcept;            // "auto", "legacy", "direct"

constexpr std::uint16_t k_port_tls = 16514;
constexpr std::uint16_t k_port_tcp = 16509;

struct Uri {
    struct Parameter {
        std::string name, value;
        bool operator==(const Parameter&) const = default;
    };

    std::string driver;  // "qemu", "test", …; "remote" lets the server choose
    // As written; none: tls if there is a host, unix otherwise (see how()).
    std::optional<Transport> transport;
    std::string user, host;  // empty: none. A host is a name or an address without brackets
    std::uint16_t port = 0;  // 0: the transport's own
    std::string path;        // with its slash, such as "/system", or empty

    // What is for this side only. Texts are empty if they are not given.
    std::optional<std::string> name;                       // what to ask for instead
    std::string socket;                                    // unix, ssh: the path of the socket
    std::string command;                                   // ssh, ext: the program to run
    std::vector<std::string> argv;                         // ext: its arguments
    std::string auth;                                      // "sasl", "sasl.MECHANISM" or "polkit"
    std::string authfile;                                  // user names and passwords (auth_file.h)
    std::string netcat;                                    // ssh: netcat's path over there
    std::optional<Proxy> proxy;                            // ssh
    Mode mode = Mode::automatic;                           // unix, ssh
    std::string keyfile;                                   // ssh: the private key
    std::string known_hosts, known_hosts_verify, sshauth;  // libssh, libssh2
    bool no_verify = false;                                // tls: any server; ssh: any host key
    bool no_sanity = false;                                // tls: our own certificate is not looked at first
    bool no_tty = false;                                   // ssh: ask nobody for a password
    std::string pkipath;                                   // tls: the directory of all certificates
    std::string tls_priority;                              // tls: of GnuTLS

    std::vector<Parameter> rest;  // the server's, in their order

    // Error: Cause::invalid, with the part that is wrong.
    [[nodiscard]] static Result<Uri> parse(std::string_view text);

    // The same URI as text; parse() gives an equal one from it.
    [[nodiscard]] std::string print() const;

    // The transport in use, and its port: k_port_tls, k_port_tcp, or 0 where there is none or ssh knows.
    [[nodiscard]] Transport how() const noexcept;
    [[nodiscard]] std::uint16_t effective_port() const noexcept;
    // The host that is connected to and that a certificate has to name: "localhost" if none is given.
    [[nodiscard]] std::string effective_host() const;

    // What the server is asked to open: `name`, or the URI less everything that is for this side. Empty: what
    // it likes.
    [[nodiscard]] std::string open_name() const;

    // True for a daemon of one's own rather than of the machine: the path is "/session", or the driver is the
    // test driver over a transport; never for root.
    [[nodiscard]] bool wants_session(bool is_root) const noexcept;

    bool operator==(const Uri&) const = default;
};

}  // namespace virtgate::client
