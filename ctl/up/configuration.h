// SPDX-License-Identifier: LGPL-2.1-or-later
// configuration - the daemons' configuration files, written from the options of "virtgate up".
//
// A file that this program wrote and nobody has changed is written anew at each start. Its fourth line
// carries a checksum of all that follows; when that does not match, somebody has edited the file, and it is
// kept. The policy is written once and is the user's from then on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ctl/up/options.h"
#include "ctl/up/places.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::up {

struct Configuration {
    std::vector<std::string> kept;  // paths of the files that somebody has edited
};

// Writes DIR/etc/netd.toml, DIR/etc/workerd.toml, DIR/etc/lockd.toml and, when it is missing, DIR/etc/policy.d/10-local.toml.
// Error: system's fault; also when an option sets a key of a file that was edited, since it would be lost.
Result<Configuration> write_configuration(const Options& options, const Places& places);

// The ports that clients know; 0: none.
struct Ports {
    std::uint16_t tls = 0, tcp = 0;
};

// Writes DIR/run/netd.toml: DIR/etc/netd.toml with the ports that netd got when it could choose, so that it gets
// the same again after it died. Error: system's fault.
Done write_restart_configuration(const Options& options, const Places& places, const Ports& ports);

// The text of a configuration file, for write_configuration() and tests.
[[nodiscard]] std::string netd_text(const Options& options, const Places& places);
[[nodiscard]] std::string workerd_text(const Options& options, const Places& places);
[[nodiscard]] std::string lockd_text(const Options& options, const Places& places);
[[nodiscard]] std::string policy_text();

// Puts the head with the checksum before `body`; `name` is the file's name. Whether `text` still has both.
[[nodiscard]] std::string seal(std::string_view name, std::string_view body);
[[nodiscard]] bool is_sealed(std::string_view text) noexcept;

}  // namespace virtgate::ctl::up
