// SPDX-License-Identifier: LGPL-2.1-or-later
// mechanisms - the SASL mechanisms that virtgate can offer, and what each needs.
//
// Whatever else libsasl2 has installed (ANONYMOUS, LOGIN, NTLM, …) cannot be configured: it is weak, or
// lets everybody in.
#pragma once

#include <optional>
#include <string_view>

#include "libshared/userdb/crypto.h"

namespace virtgate::netd::doorman::sasl {

struct Mechanism {
    std::string_view name;
    std::string_view plugin;           // the library of libsasl2 that has it, without the ending
    bool wants_password = true;        // in one of the two databases
    bool has_layer = false;            // can encrypt what follows
    std::optional<userdb::Hash> hash;  // SCRAM: of the verifier
};

// Null if virtgate does not offer `name`. Names are compared exactly.
[[nodiscard]] const Mechanism* find_mechanism(std::string_view name) noexcept;

// Is the file `path` a plugin that one of the mechanisms in question needs?
[[nodiscard]] bool is_plugin(std::string_view path, std::string_view plugin) noexcept;

// The names of all, for messages: "SCRAM-SHA-256, SCRAM-SHA-512, …".
[[nodiscard]] std::string list_mechanisms();

}  // namespace virtgate::netd::doorman::sasl
