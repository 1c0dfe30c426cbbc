// SPDX-License-Identifier: LGPL-2.1-or-later
// event_words - libvirt's public numbers of lifecycle events in words.
#include "ctl/tools/event_words.h"

#include <fmt/format.h>

#include <array>
#include <span>

namespace virtgate::ctl::tools {

namespace {

using Words = std::span<const std::string_view>;

constexpr std::array<std::string_view, 9> k_domain{"defined",   "undefined",   "started",
                                                   "suspended", "resumed",     "stopped",
                                                   "shutdown",  "pmsuspended", "crashed"};
constexpr std::array<std::string_view, 4> k_network{"defined", "undefined", "started", "stopped"};
constexpr std::array<std::string_view, 6> k_pool{"defined", "undefined", "started",
                                                 "stopped", "created",   "deleted"};
constexpr std::array<std::string_view, 4> k_device{"created", "deleted", "defined", "undefined"};
constexpr std::array<std::string_view, 2> k_secret{"defined", "undefined"};

constexpr std::array<std::string_view, 4> k_defined{"added", "updated", "renamed", "from snapshot"};
constexpr std::array<std::string_view, 2> k_undefined{"removed", "renamed"};
constexpr std::array<std::string_view, 6> k_started{"booted",        "migrated", "restored",
                                                    "from snapshot", "woken up", "recovered"};
constexpr std::array<std::string_view, 9> k_suspended{"paused",    "migrated",  "I/O error",
                                                      "watchdog",  "restored",  "from snapshot",
                                                      "API error", "post-copy", "post-copy failed"};
constexpr std::array<std::string_view, 5> k_resumed{"unpaused", "migrated", "from snapshot", "post-copy",
                                                    "post-copy failed"};
constexpr std::array<std::string_view, 9> k_stopped{"shut down",     "destroyed", "crashed",
                                                    "migrated",      "saved",     "failed",
                                                    "from snapshot", "recovered", "migrated away"};
constexpr std::array<std::string_view, 3> k_shutdown{"finished", "by the guest", "by the host"};
constexpr std::array<std::string_view, 2> k_pmsuspended{"to memory", "to disk"};
constexpr std::array<std::string_view, 2> k_crashed{"panicked", "crash loaded"};

std::string pick(Words words, std::int64_t number) {
    if (number >= 0 && static_cast<std::size_t>(number) < words.size())
        return std::string(words[static_cast<std::size_t>(number)]);
    return fmt::to_string(number);
}

}  // namespace

std::string event_word(std::string_view family, std::int64_t event) {
    if (family == "domain") return pick(k_domain, event);
    if (family == "network") return pick(k_network, event);
    if (family == "storage_pool") return pick(k_pool, event);
    if (family == "node_device") return pick(k_device, event);
    if (family == "secret") return pick(k_secret, event);
    return fmt::to_string(event);
}

std::string detail_word(std::string_view family, std::int64_t event, std::int64_t detail) {
    constexpr std::array<Words, 9> k_details{k_defined, k_undefined, k_started,     k_suspended, k_resumed,
                                             k_stopped, k_shutdown,  k_pmsuspended, k_crashed};
    // Other families have details, and no meaning for them.
    if (family != "domain" || event < 0 || static_cast<std::size_t>(event) >= k_details.size()) return {};
    return pick(k_details[static_cast<std::size_t>(event)], detail);
}

}  // namespace virtgate::ctl::tools
