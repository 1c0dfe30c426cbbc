// SPDX-License-Identifier: LGPL-2.1-or-later
// event_words - libvirt's public numbers of lifecycle events in words.
//
// Source: libvirt's public enumerations.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace virtgate::ctl::tools {

// "started" and "booted", for an event and a detail of a family's lifecycle; the number where there is no
// word, and empty where a detail says nothing.
[[nodiscard]] std::string event_word(std::string_view family, std::int64_t event);
[[nodiscard]] std::string detail_word(std::string_view family, std::int64_t event, std::int64_t detail);

}  // namespace virtgate::ctl::tools
