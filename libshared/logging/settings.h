// SPDX-License-Identifier: LGPL-2.1-or-later
// settings - what a daemon's configuration says about its log: how much of whom, and where it goes.
//
//     log_level = "info"
//     log_filters = ["debug:gate", "warning:worker"]            # other levels for some processes
//     log_outputs = ["journald", "warning:syslog:virtgate-netd", "debug:file:/var/log/virtgate/netd.log"]
//
// Levels are "debug", "info", "warning" and "error", or libvirt's numbers 1 to 4.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libshared/base/log.h"
#include "libshared/base/result.h"

namespace virtgate::config {
class Section;
}

namespace virtgate::logging {

struct Filter {
    Level level{};
    std::string process;  // "gate"
    bool operator==(const Filter&) const = default;
};

struct Output {
    enum class Kind : unsigned char { standard_error, syslog, file, journald };
    Kind kind{};
    Level level = Level::debug;  // less than that does not go there
    std::string target{};        // of syslog: the name before each line; of a file: its absolute path
    bool operator==(const Output&) const = default;
};

struct Settings {
    Level level = Level::info;
    std::vector<Filter> filters{};
    std::vector<Output> outputs{};  // none: standard error

    // How much `process` says: the first filter for it, or the level.
    [[nodiscard]] Level of(std::string_view process) const noexcept;
    // The files among the outputs.
    [[nodiscard]] std::vector<std::string> files() const;
    // Of a daemon without a terminal and without a service manager: without outputs, syslog.
    void leave_terminal(std::string_view program);
};

// "debug:gate". `processes`: those that there are. Error: peer's fault: what is wrong with it, without the text itself.
[[nodiscard]] Result<Filter> parse_filter(std::string_view text, std::span<const std::string_view> processes);

// Several of them with blanks between, as libvirt writes them. Error: as above, with the text itself.
[[nodiscard]] Result<std::vector<Filter>> parse_filters(std::string_view list,
                                                        std::span<const std::string_view> processes);
[[nodiscard]] Result<std::vector<Output>> parse_outputs(std::string_view list, std::string_view program);

// The same lists of `settings`, with libvirt's numbers: "1:gate 3:keeper", "2:stderr". Of more than k_list_max bytes the
// first ones.
inline constexpr std::size_t k_list_max = 4095;
[[nodiscard]] std::string list_filters(const Settings& settings);
[[nodiscard]] std::string list_outputs(const Settings& settings);

// "stderr", "info:journald", "3:syslog:NAME", "file:/PATH"; syslog without a name has `program`. Error: as above.
[[nodiscard]] Result<Output> parse_output(std::string_view text, std::string_view program);

// log_level, log_filters and log_outputs of the daemon `program`, which has these `processes`. What is wrong is noted in
// the document.
[[nodiscard]] Settings read_log(config::Section& root, std::string_view program,
                                std::span<const std::string_view> processes);

}  // namespace virtgate::logging
