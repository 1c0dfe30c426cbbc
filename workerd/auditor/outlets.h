// SPDX-License-Identifier: LGPL-2.1-or-later
// outlets - all places that records go to, and what they did not take.
//
// A place that fails loses records until it works again; that is said once in the log when it begins and once when it
// ends, and the place itself gets a record of how many it misses. The places do not know of each other.
//
// Owns: the outlets.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "libshared/base/log.h"
#include "workerd/auditor/outlet.h"

namespace virtgate::workerd::auditor {

// Whoever takes records. The ledger knows no more of the outlets.
class Writer {
public:
    virtual ~Writer() = default;
    virtual void write(const Record& record) noexcept = 0;
};

class Outlets final : public Writer {
public:
    explicit Outlets(WallClock clock) : clock_(clock) {}

    void add(std::unique_ptr<Outlet> outlet);

    void write(const Record& record) noexcept override;

    // Tries those that have failed again, with the record of what they miss. To be called from time to time while
    // has_failed(), so that a place learns what it misses even if nothing happens any more.
    void retry() noexcept;
    [[nodiscard]] bool has_failed() const noexcept;

    // Opens everything anew. What cannot be opened stays as it is, is logged, and is tried again by retry().
    void reopen() noexcept;

    // Records that came to be written so far; and
    [[nodiscard]] std::uint64_t records() const noexcept { return records_; }
    // Records that were dropped so far, over all outlets.
    [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_; }

private:
    struct Place {
        std::unique_ptr<Outlet> outlet;
        std::uint64_t missing = 0;  // records since it failed
        bool stale = false;         // it could not be opened anew
        Sparse told{};              // a place may fail and work in turns
        bool telling = false;       // this time it was told
    };
    void write_to(Place& place, const Record& record) noexcept;
    void fail(Place& place, const Error& error) noexcept;
    [[nodiscard]] bool recover(Place& place) noexcept;
    void renew(Place& place) noexcept;

    const WallClock clock_;
    const Log log_{"records"};
    std::vector<Place> places_;
    std::uint64_t dropped_ = 0, records_ = 0;
};

}  // namespace virtgate::workerd::auditor
