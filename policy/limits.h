// SPDX-License-Identifier: LGPL-2.1-or-later
// limits - the limits that a policy can set: their names, units, and how several become one.
//
// Of the roles of an identity the most permissive counts, among those that set the limit; then every binding and
// [global] can make it tighter. A role that does not mention a limit has no say in it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "proto/policy.h"

namespace virtgate::policy {

enum class Unit : std::uint8_t { count, bytes, seconds };

struct LimitWord {
    std::string_view name;
    std::optional<std::uint64_t> proto::policy::LimitSet::*member;
    Unit unit;
};
[[nodiscard]] std::span<const LimitWord> limit_words() noexcept;

// "256KiB", "30m": a number and what it is of (KiB, MiB, GiB; s, m, h, d). None if it is nothing of the kind.
[[nodiscard]] std::optional<std::uint64_t> parse_amount(std::string_view text, Unit unit) noexcept;
[[nodiscard]] std::string_view describe(Unit unit) noexcept;

// Makes `limits` as permissive as `other` where that says something, or as tight.
void widen(proto::policy::LimitSet& limits, const proto::policy::LimitSet& other) noexcept;
void tighten(proto::policy::LimitSet& limits, const proto::policy::LimitSet& other) noexcept;
// Takes from `other` what it says.
void override_with(proto::policy::LimitSet& limits, const proto::policy::LimitSet& other) noexcept;

}  // namespace virtgate::policy
