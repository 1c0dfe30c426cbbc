// SPDX-License-Identifier: LGPL-2.1-or-later
// attributes - the names by which a policy speaks of the parts of a certificate's subject.
//
// Doorman names an attribute by its short name where there is one, else by its dotted OID; a condition has to
// use the same name, or it could never match.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace virtgate::policy {

// The name under which doorman reports the attribute that a policy calls `name`; empty if there is none.
// Short names are case-sensitive; a dotted OID stands for itself.
[[nodiscard]] std::string_view canonical_attribute(std::string_view name) noexcept;

// Every short name, for suggestions.
[[nodiscard]] const std::vector<std::string_view>& known_attributes();

}  // namespace virtgate::policy
