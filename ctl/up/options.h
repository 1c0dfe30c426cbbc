// SPDX-License-Identifier: LGPL-2.1-or-later
// options - what "virtgate up" was asked for on its command line.
//
// Trust: all of it comes from the person who runs the command.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ctl/pki/key_type.h"
#include "libshared/base/log.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::up {

// A libvirt daemon behind virtgate: clients ask for the URI, the socket is where it answers.
struct Upstream {
    std::string uri;     // "driver:///path", without transport, host and user
    std::string socket;  // absolute path
};

// One key of a configuration file, from "--set FILE.SECTION.KEY=VALUE".
struct Setting {
    std::string file;     // "netd", "workerd" or "lockd"
    std::string section;  // empty: before the first section
    std::string key;
    std::string value;  // as TOML writes it
};

struct Options {
    std::string directory;       // absolute; everything that is written lies in it
    std::uint16_t tls_port = 0;  // 0 = any free one
    std::vector<Upstream> upstreams;
    std::vector<Setting> settings;
    pki::KeyType key_type = pki::KeyType::ecdsa;
    Level log_level = Level::info;
};

// Reads "URI=SOCKET". Error: system's fault; the text says what is wrong with it.
Result<Upstream> parse_upstream(std::string_view text);

// Reads "FILE.SECTION.KEY=VALUE" or "FILE.KEY=VALUE". A value that looks like a number, true, false, or
// begins like a TOML string, list or table is taken as it is, anything else as text. Error: as above.
Result<Setting> parse_setting(std::string_view text);

// `text` as a TOML string, quotes included.
[[nodiscard]] std::string quote_toml(std::string_view text);

}  // namespace virtgate::ctl::up
