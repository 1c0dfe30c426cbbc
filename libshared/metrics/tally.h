// SPDX-License-Identifier: LGPL-2.1-or-later
// tally - samples, added up: those of one process, and those of several that count the same.
//
//     Tally all;
//     all.add(Family::logins, {"PLAIN", "ok"}, 3);
//     all.add_all(samples_of_another_process);
//
// A Total goes on when one of several processes ends: what it had counted stays, what it had is gone.
//
// Limits: k_series_max series; a new one beyond that is left out, and counted.
// Owns:   its samples.
#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "libshared/metrics/catalogue.h"

namespace virtgate::metrics {

using Samples = std::vector<proto::metrics::Sample>;

class Tally {
public:
    static constexpr std::size_t k_series_max = 32'768;

    // Adds `value` to the series; it is there from now on, with 0, too.
    void add(Family family, std::initializer_list<std::string_view> labels, std::uint64_t value);
    void add(const proto::metrics::Sample& sample);
    void add_all(const Samples& samples) {
        for (const auto& sample : samples) add(sample);
    }
    // Takes over the smaller value; for what ends first.
    void set_least(Family family, std::initializer_list<std::string_view> labels, std::uint64_t value);

    // By family and labels.
    [[nodiscard]] Samples samples() const;
    [[nodiscard]] std::uint64_t value_of(Family family, std::initializer_list<std::string_view> labels) const;
    [[nodiscard]] std::size_t size() const noexcept { return values_.size(); }

private:
    using Key = std::pair<std::uint32_t, std::vector<std::string>>;
    [[nodiscard]] std::uint64_t* place(Key key, bool& is_new);
    std::map<Key, std::uint64_t> values_;
};

// The counters of `samples`: what stays when their process ends.
[[nodiscard]] Samples counters_of(Samples samples);

}  // namespace virtgate::metrics
