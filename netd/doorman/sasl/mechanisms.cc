// SPDX-License-Identifier: LGPL-2.1-or-later
// mechanisms - the SASL mechanisms that virtgate can offer, and what each needs.
#include "netd/doorman/sasl/mechanisms.h"

#include <array>

namespace virtgate::netd::doorman::sasl {

namespace {

using userdb::Hash;

constexpr std::array k_mechanisms{
    Mechanism{"SCRAM-SHA-256", "libscram", true, false, Hash::sha256},
    Mechanism{"SCRAM-SHA-512", "libscram", true, false, Hash::sha512},
    Mechanism{"SCRAM-SHA-1", "libscram", true, false, Hash::sha1},
    Mechanism{"GSSAPI", "libgssapiv2", false, true, std::nullopt},
    Mechanism{"DIGEST-MD5", "libdigestmd5", true, true, std::nullopt},
    Mechanism{"PLAIN", "libplain", true, false, std::nullopt},
};

}  // namespace

const Mechanism* find_mechanism(std::string_view name) noexcept {
    for (const Mechanism& mechanism : k_mechanisms)
        if (mechanism.name == name) return &mechanism;
    return nullptr;
}

bool is_plugin(std::string_view path, std::string_view plugin) noexcept {
    const std::string_view file = path.substr(path.rfind('/') + 1);
    // "libscram.so", "libscram.so.2", "libscram.so.2.0.25"
    return file.starts_with(plugin) && file.substr(plugin.size()).starts_with(".so");
}

std::string list_mechanisms() {
    std::string list;
    for (const Mechanism& mechanism : k_mechanisms) {
        if (!list.empty()) list += ", ";
        list += mechanism.name;
    }
    return list;
}

}  // namespace virtgate::netd::doorman::sasl
