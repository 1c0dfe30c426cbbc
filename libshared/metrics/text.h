// SPDX-License-Identifier: LGPL-2.1-or-later
// text - samples as monitoring systems read them.
//
// Source: OpenMetrics 1.0.0 (github.com/OpenObservability/OpenMetrics, specification/OpenMetrics.md); Prometheus' text format
//         0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).
#pragma once

#include <string>
#include <string_view>

#include "libshared/metrics/tally.h"

namespace virtgate::metrics {

enum class Format : unsigned char { prometheus, open_metrics };

[[nodiscard]] std::string_view content_type(Format format) noexcept;

// Which one a client wants, by the value of its Accept header (none: empty): what it names with the greatest weight; in doubt
// the older one, which everybody reads.
[[nodiscard]] Format choose_format(std::string_view accept) noexcept;

// `samples`, which are in the order of their families (Tally::samples()). Label values are escaped, and may hold any bytes.
[[nodiscard]] std::string format(const Samples& samples, Format format);

}  // namespace virtgate::metrics
