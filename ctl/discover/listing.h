// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - servers that were found, for people and for programs.
//
// Pure.
//
// Trust:  whatever somebody on the network has chosen is escaped; a row stays one line, and a column its own.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ctl/discover/servers.h"

namespace virtgate::ctl::discover {

// A table with a header; of no servers, a sentence.
[[nodiscard]] std::string list_text(const std::vector<Server>& servers);
[[nodiscard]] std::string list_json(const std::vector<Server>& servers);

// One line, when something has happened to `server`: "found", "changed" or "gone".
[[nodiscard]] std::string event_text(std::string_view what, const Server& server);
[[nodiscard]] std::string event_json(std::string_view what, const Server& server);

}  // namespace virtgate::ctl::discover
