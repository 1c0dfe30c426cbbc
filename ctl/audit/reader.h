// SPDX-License-Identifier: LGPL-2.1-or-later
// reader - the records in a file of the auditor, one after the other.
//
// The file is read in pieces and never kept: it may be larger than the memory. A line that is no record, because a disk
// was full or a machine stopped when it was written, is counted and passed over.
//
//     const auto done = read_entries(path, {.identity = "ops", .since = since}, [&](const Entry& entry) {
//         counts[*entry.procedure]++;
//         return true;
//     });
//
// Records stand in the order in which they were written, which is nearly but not quite that of their times: a call that
// was allowed is written when it ends.
//
// Trust:  see entry.h.
// Limits: a line has at most k_line_max bytes; a longer one is a broken one.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "ctl/audit/entry.h"
#include "libshared/base/result.h"

namespace virtgate::ctl::audit {

// The auditor's lines are much shorter: eight objects with names of 512 bytes, each byte six times as long in JSON.
inline constexpr std::size_t k_line_max = 1U << 20;

// Which records are wanted. What is absent or empty does not restrict.
struct Filter {
    std::optional<std::string> identity{};  // exactly
    std::optional<Moment> since{};          // at this moment or later
    std::optional<Moment> until{};          // before this moment
    bool refused = false;                   // what was not allowed, or would not have been ("shadowed")
    std::string procedure{};                // a glob (policy/glob.h), whatever the case of its letters
    std::string object{};                   // a glob for a name or UUID; or KIND=GLOB
    std::optional<std::uint64_t> session{};

    [[nodiscard]] bool matches(const Entry& entry) const;
};

// Cuts what comes in pieces into lines.
class Lines {
public:
    // Calls `take` with each line that is complete now, without its newline. The view is good during the call only.
    // A line that is too long is not shown but counted. `take` returns false to stop; then so does feed().
    bool feed(std::string_view piece, const std::function<bool(std::string_view)>& take);

    // What came after the last newline; empty afterwards.
    [[nodiscard]] std::string take_rest();

    [[nodiscard]] std::uint64_t too_long() const noexcept { return too_long_; }

private:
    bool finish(std::string_view line, const std::function<bool(std::string_view)>& take);

    std::string partial_{};
    bool skipping_ = false;  // what comes belongs to a line that is too long
    std::uint64_t too_long_ = 0;
};

// Calls `take` with each line of the file `path` until it returns false or the file ends; a last one without a newline
// counts too. "-" is standard input. The result is how many lines were too long. Error: system's fault, if the
// file cannot be read; lines may have been shown before.
Result<std::uint64_t> read_lines(const std::string& path, const std::function<bool(std::string_view)>& take);

struct Summary {
    std::uint64_t records = 0;  // that were read
    std::uint64_t matched = 0;  // of those, that the filter let through
    std::uint64_t broken = 0;   // lines that are no records
};

// Calls `take` with each record of the file `path` that `filter` lets through, until it returns false or the file ends.
// Path and error as with read_lines().
Result<Summary> read_entries(const std::string& path, const Filter& filter,
                             const std::function<bool(const Entry&)>& take);

}  // namespace virtgate::ctl::audit
