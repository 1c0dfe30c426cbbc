// SPDX-License-Identifier: LGPL-2.1-or-later
// effects - what a policy comes to: every procedure that an identity may call, on what, and every limit.
//
// Two policies can be compared by this, whatever words they use.
//
// Trust:  names of a policy are escaped in texts, and as they are in JSON.
// Limits: an identity has as many effects as its grants have procedures; they are made for one identity at a
//         time.
#pragma once

#include <compare>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "policy/table.h"

namespace virtgate::ctl::policy {

// On what, where and when: what two grants of the same call can differ in.
struct Scope {
    bool everything = false;
    std::vector<std::string> objects{}, except{};  // "domain=glob:web-*", sorted
    std::vector<std::string> constraints{};        // of XML: "no hostdev", "paths below /srv/vm"
    std::vector<std::string> listeners{};
    std::optional<std::int64_t> not_before{}, not_after{};  // seconds since 1970
    bool shadow = false;

    auto operator<=>(const Scope&) const = default;
    // " on domain=glob:web-* except domain=web-9 at tls", or nothing.
    [[nodiscard]] std::string to_text() const;
};

[[nodiscard]] Scope scope_of(const proto::policy::Grant& grant);

struct Effect {
    enum class Kind : std::uint8_t { allow, deny, redact, limit };
    std::string identity{};
    Kind kind = Kind::allow;
    std::string what{};   // "remote.DOMAIN_CREATE", a permission that is redacted, or the name of a limit
    std::string flags{};  // "without PAUSED", "with TLS"; empty: whatever they are
    Scope scope{};
    std::uint64_t value = 0;  // of a limit

    auto operator<=>(const Effect&) const = default;
    // "alice allow remote.DOMAIN_CREATE on domain=glob:web-*"
    [[nodiscard]] std::string to_text() const;
};

// {"identity", "effect": "allow"|"deny"|"redact"|"limit", "procedure"|"permission"|"limit", ...}, as the
// manual page says.
[[nodiscard]] nlohmann::ordered_json to_json(const Effect& effect);

// All effects for the identity of `rule`, in order, each once.
[[nodiscard]] std::vector<Effect> effects_of(const virtgate::policy::Table::Rule& rule);

// What only one of two policies has.
struct Difference {
    std::vector<Effect> gone{}, fresh{};
    [[nodiscard]] bool empty() const noexcept { return gone.empty() && fresh.empty(); }
};
[[nodiscard]] Difference compare(const virtgate::policy::Table& before, const virtgate::policy::Table& after);

}  // namespace virtgate::ctl::policy
