// SPDX-License-Identifier: LGPL-2.1-or-later
// path_digest - the name of a path in a lock space, as libvirt's plugin for lock daemons makes it.
//
// Pure, and no secret is in it: a path becomes a name of constant length, and nothing depends on who could guess it. That is
// why no library for cryptography is in this process for it.
//
// Source: FIPS 180-4, SHA-256.
#pragma once

#include <string>
#include <string_view>

namespace virtgate::workerd::store {

// The SHA-256 of `text` in 64 lower-case hexadecimal digits.
[[nodiscard]] std::string digest_of(std::string_view text);

}  // namespace virtgate::workerd::store
