// SPDX-License-Identifier: LGPL-2.1-or-later
// listing - locks and lock spaces, for people and for programs.
//
// Pure.
//
// Trust:  whatever a client has chosen is escaped; a row stays one line, and a column its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/locks.h"

namespace virtgate::ctl::locks {

// What people call the lock space of files that are locked themselves; no path is called so.
inline constexpr std::string_view k_direct = "direct";

using Holds = std::vector<proto::locks::ListedHold>;
using Spaces = std::vector<proto::locks::ListedSpace>;

// A table with a header; of no holds, a sentence. `now`: seconds since 1970.
[[nodiscard]] std::string list_text(const Holds& holds, std::int64_t now);
[[nodiscard]] std::string list_json(const Holds& holds);
[[nodiscard]] std::string list_text(const Spaces& spaces);
[[nodiscard]] std::string list_json(const Spaces& spaces);

// Whose it is: "process 12", "a session", "an identity".
[[nodiscard]] std::string describe_owner(proto::locks::ListedKind kind, std::uint32_t process);

// "less than a second", "1 second", "3 minutes", "5 hours", "12 days".
[[nodiscard]] std::string describe_age(std::int64_t seconds);

// A UUID as 8-4-4-4-12 hexadecimal digits; and back, with or without hyphens. None if it is none.
using Uuid = std::array<std::byte, 16>;
[[nodiscard]] std::string to_text(const Uuid& uuid);
[[nodiscard]] std::optional<Uuid> parse_uuid(std::string_view text);

}  // namespace virtgate::ctl::locks
