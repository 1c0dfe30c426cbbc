// SPDX-License-Identifier: LGPL-2.1-or-later
// secrets - what nobody should see in a trace: passwords, values of secrets, what a login says.
//
// Limits: it knows libvirt's calls and the names that they use. A text in which somebody has put a password elsewhere, the
//         description of a machine for example, is shown.
#pragma once

#include <string_view>

#include "libshared/reflect/json.h"

namespace virtgate::ctl::trace {

// What stands in the place of a secret.
inline constexpr std::string_view k_hidden = "(hidden)";

// Takes secrets out of `payload`, which the procedure (names as in the schema) was called with or has returned.
void hide_secrets(std::string_view program, std::string_view procedure, reflect::Json& payload);

}  // namespace virtgate::ctl::trace
