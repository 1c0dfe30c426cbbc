// SPDX-License-Identifier: LGPL-2.1-or-later
// call_counts - what became of the calls of one identity, by program, in numbers.
#include "workerd/worker/call_counts.h"

#include "libshared/base/bytes.h"
#include "proto/programs.h"

namespace virtgate::workerd::worker {

namespace {

// Of others there may be several versions, and all have one name.
std::string name_of(std::uint32_t number) {
    constexpr std::uint32_t k_versions = 16;
    for (std::uint32_t version = 1; version <= k_versions; ++version)
        if (const proto::ProgramInfo* program = proto::find_program(number, version))
            return to_lower(program->name);
    return "other";
}

}  // namespace

CallCounts::Counts& CallCounts::find(std::uint32_t program) {
    cached_ = &counts_[program];
    last_ = program;
    return *cached_;
}

metrics::Samples CallCounts::read(const std::string& identity, std::uint64_t lost) const {
    using metrics::Family;
    metrics::Tally tally;
    for (const auto& [number, counts] : counts_) {
        if (number == 0) continue;
        const std::string name = name_of(number);
        tally.add(Family::calls, {identity, name, "forwarded"}, counts.forwarded);
        tally.add(Family::calls, {identity, name, "denied"}, counts.denied);
        tally.add(Family::calls, {identity, name, "failed"}, counts.failed);
    }
    tally.add(Family::calls_limited, {identity}, limited_);
    tally.add(Family::audit_records_lost, {}, lost);
    return tally.samples();
}

}  // namespace virtgate::workerd::worker
