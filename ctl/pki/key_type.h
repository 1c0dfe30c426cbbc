// SPDX-License-Identifier: LGPL-2.1-or-later
// key_type - the kinds of private key that can be asked for, by name.
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace virtgate::ctl::pki {

enum class KeyType : unsigned char { ecdsa, rsa, ed25519 };

// The names of the kinds, in the order of the enumeration.
inline constexpr std::array<std::string_view, 3> k_key_type_names{"ecdsa", "rsa", "ed25519"};

[[nodiscard]] constexpr std::string_view name_of(KeyType type) noexcept {
    return k_key_type_names[static_cast<std::size_t>(type)];
}

[[nodiscard]] constexpr std::optional<KeyType> parse_key_type(std::string_view name) noexcept {
    for (std::size_t i = 0; i < k_key_type_names.size(); ++i)
        if (name == k_key_type_names[i]) return static_cast<KeyType>(i);
    return std::nullopt;
}

}  // namespace virtgate::ctl::pki
