// SPDX-License-Identifier: LGPL-2.1-or-later
// daemon - the daemons that have a configuration file, and what each says of its own.
//
// A daemon knows its settings, nobody else does: it is started with --settings or --check, and ends. So what is shown is what it
// would do, also where a default depends on this machine.
//
// Trust: configuration files are the administrator's. Whoever runs this needs to be able to read them. A daemon escapes what its
//        complaints quote.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libshared/base/result.h"

namespace virtgate::ctl::config {

struct Daemon {
    std::string_view name;     // "netd"
    std::string_view program;  // "virtgate-netd"
    std::string_view file;     // its configuration, where nobody says otherwise
};

[[nodiscard]] std::span<const Daemon> daemons() noexcept;

// One line of config::list_answers().
struct Setting {
    std::string header;  // "[tls]", "[[upstream]] 2"; empty before the first section
    std::string key;
    std::string value;     // as in TOML, which is JSON as well for what settings are
    std::string fallback;  // what it would be if the file did not have it
    std::uint32_t line;    // in the file; 0: it has none
    [[nodiscard]] bool differs() const noexcept { return value != fallback; }
};

struct Settings {
    const Daemon* daemon;
    std::string file;
    bool has_file;  // false: all defaults
    std::vector<Setting> settings;
};

// What a daemon thinks of its configuration.
struct Verdict {
    const Daemon* daemon;
    std::string file;
    bool is_good;
    int status;                      // of this command, if it is not good
    std::vector<std::string> lines;  // what it said: complaints, if it is not good
};

// True if the daemon's package is installed.
[[nodiscard]] bool is_installed(const Daemon& daemon, const std::string& programs);

// Reads what a daemon wrote. Error: system's fault, at a line of another form: another version's program.
Result<std::vector<Setting>> parse_settings(std::string_view text);

// `programs`: the directory of the daemons. Error: system's fault; of ask_settings() also the daemon's complaints about the file.
Result<Settings> ask_settings(const Daemon& daemon, const std::string& programs, const std::string& file);
Result<Verdict> ask_verdict(const Daemon& daemon, const std::string& programs, const std::string& file);

}  // namespace virtgate::ctl::config
