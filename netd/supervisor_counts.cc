// SPDX-License-Identifier: LGPL-2.1-or-later
// supervisor_counts - what the supervisor has counted, for the exporter.
#include "libshared/metrics/processes.h"
#include "netd/supervisor.h"

namespace virtgate::netd {

metrics::Samples Supervisor::tell_counts() {
    using metrics::Family;
    metrics::Tally tally;
    tally.add(Family::configuration_generation, {}, served_generation_);
    tally.add(Family::configuration_load, {}, static_cast<std::uint64_t>(served_since_));
    tally.add(Family::configuration_reloads, {"ok"}, loads_);
    tally.add(Family::configuration_reloads, {"failed"}, failed_loads_);
    tally.add(Family::drained, {}, is_drained_ ? 1 : 0);
    metrics::add_processes(tally, spawn::Census::of_this_process());
    return tally.samples();
}

}  // namespace virtgate::netd
