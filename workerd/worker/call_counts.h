// SPDX-License-Identifier: LGPL-2.1-or-later
// call_counts - what became of the calls of one identity, by program, in numbers.
//
// Limits: programs that the schemas know, a handful.
// Owns:   the numbers.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "libshared/metrics/tally.h"

namespace virtgate::workerd::worker {

class CallCounts {
public:
    struct Counts {
        std::uint64_t forwarded = 0, denied = 0, failed = 0;
    };
    // Of the program of that number. Plain numbers: a worker has one thread.
    [[nodiscard]] Counts& of(std::uint32_t program) { return program == last_ ? *cached_ : find(program); }
    void note_limited() noexcept { ++limited_; }

    // `lost`: what the auditor did not get.
    [[nodiscard]] metrics::Samples read(const std::string& identity, std::uint64_t lost) const;

private:
    [[nodiscard]] Counts& find(std::uint32_t program);
    std::map<std::uint32_t, Counts> counts_;
    std::uint32_t last_ = 0;
    Counts* cached_ = &counts_[0];  // one that no program has
    std::uint64_t limited_ = 0;
};

}  // namespace virtgate::workerd::worker
