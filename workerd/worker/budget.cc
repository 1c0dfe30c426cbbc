// SPDX-License-Identifier: LGPL-2.1-or-later
// budget - what all sessions of one identity together may use up.
#include "workerd/worker/budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace virtgate::workerd::worker {

namespace {

std::string say(const char* name, std::uint64_t limit) { return fmt::format("{}={}", name, limit); }

}  // namespace

void Budget::Bucket::fill(Instant now, double rate, double size) noexcept {
    // The first look finds a full bucket.
    const std::chrono::duration<double> passed = now - filled;
    level = filled == Instant{} ? size : std::min(size, level + passed.count() * rate);
    filled = now;
}

void Budget::set_limits(const proto::policy::LimitSet& limits) noexcept { limits_ = limits; }

std::string Budget::take_call(std::size_t size, bool opens_stream) {
    if (limits_.max_payload && size > *limits_.max_payload) return say("max_payload", *limits_.max_payload);
    if (limits_.concurrent_calls && usage_.calls >= *limits_.concurrent_calls)
        return say("concurrent_calls", *limits_.concurrent_calls);
    if (opens_stream && limits_.concurrent_streams && usage_.streams >= *limits_.concurrent_streams)
        return say("concurrent_streams", *limits_.concurrent_streams);
    if (!limits_.calls_per_second) return {};
    const auto rate = static_cast<double>(*limits_.calls_per_second);
    // Less than one call would never fit.
    const double burst = std::max(1.0, limits_.burst ? static_cast<double>(*limits_.burst) : rate);
    calls_.fill(clock_.now(), rate, burst);
    if (calls_.level < 1.0) return say("calls_per_second", *limits_.calls_per_second);
    calls_.level -= 1.0;
    return {};
}

Milliseconds Budget::take_refusal() noexcept {
    refusals_.fill(clock_.now(), k_refusals_per_second, k_refusals_per_second);
    refusals_.level -= 1.0;
    return refusals_.level >= 0 ? Milliseconds{0} : k_rest;
}

Milliseconds Budget::take_stream(std::size_t size) noexcept {
    if (!limits_.stream_bytes_per_second) return Milliseconds{0};
    const auto rate = static_cast<double>(std::max<std::uint64_t>(*limits_.stream_bytes_per_second, 1));
    stream_.fill(clock_.now(), rate, rate);
    stream_.level -= static_cast<double>(size);
    if (stream_.level >= 0) return Milliseconds{0};
    return std::chrono::ceil<Milliseconds>(std::chrono::duration<double>(-stream_.level / rate));
}

Milliseconds Budget::idle_timeout() const noexcept {
    constexpr std::uint64_t k_longest = 10ULL * 365 * 24 * 3600;  // seconds; more would not fit a timer
    return limits_.idle_timeout ? Milliseconds{std::min(*limits_.idle_timeout, k_longest) * 1000}
                                : Milliseconds{0};
}

}  // namespace virtgate::workerd::worker
