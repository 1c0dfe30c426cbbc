// SPDX-License-Identifier: LGPL-2.1-or-later
// settings - what netd.toml says, and the files that it names.
//
// Trust:  the file and what it names belong to the administrator. Certificates are only looked at from
//         outside here (they have to look like PEM); keeper, gates and doorman parse them.
// Owns:   Pki owns the texts; the private key is never read here, only opened.
#pragma once

#include <string>
#include <vector>

#include "libshared/base/bytes.h"
#include "libshared/base/fd.h"
#include "libshared/logging/settings.h"
#include "proto/config.h"

namespace virtgate::netd {

// Whose level can be set by itself.
inline constexpr std::string_view k_log_names[] = {"netd", "gate",      "keeper",  "doorman",
                                                   "sasl", "announcer", "steward", "exporter"};

struct Settings {
    logging::Settings log;
    proto::config::SandboxMode sandbox{};
    unsigned gates = 1;       // already the number of cores where the file says 0
    bool user_switch = true;  // started as root: give the children users of their own
    // A TCP listener.
    struct Network {
        proto::config::LoginMode login{};
        std::string address;     // a numeric address, or "localhost"
        std::uint16_t port = 0;  // 0: any free one
        [[nodiscard]] bool is_on() const noexcept { return login != proto::config::LoginMode::login_off; }
        [[nodiscard]] bool is_at(const Network& other) const noexcept {
            return is_on() == other.is_on() && address == other.address && port == other.port;
        }
    };
    Network tls, tcp;  // tcp may be off
    // The UNIX sockets; may be off.
    struct Local {
        proto::config::LoginMode login{};
        std::string path, read_only_path;  // the second may be empty: there is none
        unsigned mode = 0, read_only_mode = 0;
        std::string group;  // may be empty
        [[nodiscard]] bool is_on() const noexcept { return login != proto::config::LoginMode::login_off; }
        [[nodiscard]] bool is_at(const Local& other) const noexcept {
            return is_on() == other.is_on() && path == other.path && read_only_path == other.read_only_path &&
                   mode == other.mode && read_only_mode == other.read_only_mode && group == other.group;
        }
    } local;
    // The socket for administrators; may be off.
    struct Admin {
        bool enabled = false;
        std::string path;
        [[nodiscard]] bool is_on() const noexcept { return enabled; }
        bool operator==(const Admin&) const = default;
    } admin;
    // Where what is counted can be read; off by default.
    struct Metrics {
        bool enabled = false;
        std::string address;  // numeric, of the loopback interface, or "localhost"
        std::uint16_t port = 0;
        std::string path;  // of a UNIX socket, instead; may be empty
        unsigned mode = 0;
        std::string group;  // may be empty
        [[nodiscard]] bool is_on() const noexcept { return enabled; }
        bool operator==(const Metrics&) const = default;
    } metrics;
    bool announce = false;                                      // the listener for TLS, in multicast DNS
    std::string announced_name;                                 // empty: a default with the machine's name
    std::string certificate_file, key_file, ca_file, crl_file;  // crl_file may be empty
    std::string priority;
    std::string broker_socket;
    proto::config::ClientLimits limits;
    proto::config::SourceLimits sources;  // of all gates together
    proto::config::LoginLimits logins;
    proto::config::SaslConfig sasl;
    proto::config::KeepaliveConfig keepalive;
    std::vector<ByteVector> schemas;  // of programs of others (programs.d), verified

    // True if some listener lets clients log in with SASL.
    [[nodiscard]] bool needs_sasl() const noexcept;
    // The files whose change means that the certificates have to be loaded again.
    [[nodiscard]] std::vector<std::string> watched_files() const;
};

// Reads `path`. Error: system's fault: the complaints, one per line.
Result<Settings> read_settings(const std::string& path);
// What is set and what is not, for "virtgate config" (config::list_answers). Error: as above.
Result<std::string> list_settings(const std::string& path);

// The PEM texts.
struct Pki {
    std::string certificate, authorities, revoked;
};

// Reads the files of `settings`. Error: system's fault: a file is missing, unreadable or of another kind.
Result<Pki> read_pki(const Settings& settings);

// Opens the private key's file, with a file offset of its own. Error: system's fault; also if the group or
// others may read or write the file.
Result<UniqueFd> open_key(const Settings& settings);

}  // namespace virtgate::netd
