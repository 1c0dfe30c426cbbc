// SPDX-License-Identifier: LGPL-2.1-or-later
// processes - what a supervisor has counted of the processes that it started.
#include "libshared/metrics/processes.h"

namespace virtgate::metrics {

void add_processes(Tally& tally, const spawn::Census& census) {
    for (const auto& [kind, counted] : census.count()) {
        tally.add(Family::processes, {kind}, counted.running);
        tally.add(Family::process_starts, {kind}, counted.starts);
        tally.add(Family::process_crashes, {kind}, counted.crashes);
        if (!counted.has_usage && counted.cpu == 0) continue;
        tally.add(Family::process_cpu, {kind}, counted.cpu);
        tally.add(Family::process_memory, {kind}, counted.memory);
        if (counted.descriptors != 0) tally.add(Family::process_descriptors, {kind}, counted.descriptors);
    }
}

}  // namespace virtgate::metrics
