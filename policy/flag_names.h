// SPDX-License-Identifier: LGPL-2.1-or-later
// flag_names - the names that libvirt has for the bits of "flags", by procedure.
//
// Source: libvirt's public headers, for the calls whose flags somebody would want to forbid; others can be written as
//         numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace virtgate::policy {

// The bits of `flag` in calls of the procedure of the program remote: a full name ("VIR_DOMAIN_START_PAUSED"), its end
// ("START_PAUSED" or "PAUSED"), a number ("0x10"), or "*" for all of them. None if there is no such flag.
[[nodiscard]] std::optional<std::uint64_t> find_flag(std::string_view procedure,
                                                     std::string_view flag) noexcept;

// The full names of all flags of the procedure, for suggestions.
[[nodiscard]] std::vector<std::string_view> flags_of(std::string_view procedure);

// The name of one bit, or empty.
[[nodiscard]] std::string_view name_of_flag(std::string_view procedure, std::uint64_t bit) noexcept;

}  // namespace virtgate::policy
