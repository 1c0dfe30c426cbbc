// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - settings and verdicts as text and as JSON.
#pragma once

#include <string>
#include <vector>

#include "ctl/config/daemon.h"

namespace virtgate::ctl::config {

// As TOML, which the daemon would read again; a comment says what differs from the default and where it is set. With
// `only_differences` nothing else.
[[nodiscard]] std::string list_settings(const std::vector<Settings>& all, bool only_differences);
// {"netd": {"file": …, "settings": [{"section", "key", "value", "default", "line"}]}}
[[nodiscard]] std::string settings_to_json(const std::vector<Settings>& all, bool only_differences);

[[nodiscard]] std::string list_verdicts(const std::vector<Verdict>& verdicts);
// [{"daemon", "file", "good", "messages"}]
[[nodiscard]] std::string verdicts_to_json(const std::vector<Verdict>& verdicts);

}  // namespace virtgate::ctl::config
