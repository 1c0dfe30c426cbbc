// SPDX-License-Identifier: LGPL-2.1-or-later
// limits - the limits that a policy can set.
#include "policy/limits.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace virtgate::policy {

using proto::policy::LimitSet;

namespace {

constexpr std::array k_words{
    LimitWord{"connections", &LimitSet::connections, Unit::count},
    LimitWord{"calls_per_second", &LimitSet::calls_per_second, Unit::count},
    LimitWord{"burst", &LimitSet::burst, Unit::count},
    LimitWord{"concurrent_calls", &LimitSet::concurrent_calls, Unit::count},
    LimitWord{"concurrent_streams", &LimitSet::concurrent_streams, Unit::count},
    LimitWord{"stream_bytes_per_second", &LimitSet::stream_bytes_per_second, Unit::bytes},
    LimitWord{"max_payload", &LimitSet::max_payload, Unit::bytes},
    LimitWord{"idle_timeout", &LimitSet::idle_timeout, Unit::seconds},
};

struct Suffix {
    std::string_view text;
    Unit unit;
    std::uint64_t factor;
};
constexpr std::array k_suffixes{
    Suffix{"KiB", Unit::bytes, 1U << 10}, Suffix{"MiB", Unit::bytes, 1U << 20},
    Suffix{"GiB", Unit::bytes, 1U << 30}, Suffix{"s", Unit::seconds, 1},
    Suffix{"m", Unit::seconds, 60},       Suffix{"h", Unit::seconds, 3600},
    Suffix{"d", Unit::seconds, 86400},
};

constexpr std::uint64_t k_amount_max = std::uint64_t{1} << 53;

template <class Choose>
void merge(LimitSet& limits, const LimitSet& other, Choose choose) noexcept {
    for (const LimitWord& word : k_words) {
        auto& mine = limits.*word.member;
        const auto& its = other.*word.member;
        if (its) mine = mine ? choose(*mine, *its) : *its;
    }
}

}  // namespace

std::span<const LimitWord> limit_words() noexcept { return k_words; }

std::optional<std::uint64_t> parse_amount(std::string_view text, Unit unit) noexcept {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{}) return std::nullopt;
    const std::string_view rest(end, static_cast<std::size_t>(text.data() + text.size() - end));
    for (const Suffix& suffix : k_suffixes)
        if (suffix.unit == unit && suffix.text == rest && number <= k_amount_max / suffix.factor)
            return number * suffix.factor;
    return std::nullopt;
}

std::string_view describe(Unit unit) noexcept {
    switch (unit) {
        case Unit::count: return "a number";
        case Unit::bytes: return "a number of bytes, or a text such as \"256KiB\"";
        case Unit::seconds: return "a number of seconds, or a text such as \"30m\"";
    }
    return {};
}

void widen(LimitSet& limits, const LimitSet& other) noexcept {
    merge(limits, other, [](std::uint64_t a, std::uint64_t b) { return std::max(a, b); });
}
void tighten(LimitSet& limits, const LimitSet& other) noexcept {
    merge(limits, other, [](std::uint64_t a, std::uint64_t b) { return std::min(a, b); });
}
void override_with(LimitSet& limits, const LimitSet& other) noexcept {
    merge(limits, other, [](std::uint64_t, std::uint64_t b) { return b; });
}

}  // namespace virtgate::policy
