// SPDX-License-Identifier: LGPL-2.1-or-later
// progress - how far a transfer is, on a terminal.
//
// Owns: one line of standard error, if that is a terminal; else it says nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace virtgate::ctl::tools {

// The line for `done` bytes of `total` (0: not known) at `rate` bytes a second, for `columns` of a terminal.
[[nodiscard]] std::string draw_progress(const std::string& name, std::uint64_t done, std::uint64_t total,
                                        double rate, std::size_t columns);

class Progress {
public:
    // `start`: what was there before. It does not count for the rate.
    Progress(std::string name, std::uint64_t start, std::uint64_t total);
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    ~Progress();

    void add(std::uint64_t bytes);
    [[nodiscard]] std::uint64_t done() const noexcept { return done_; }
    [[nodiscard]] double seconds() const;

private:
    using Clock = std::chrono::steady_clock;
    void draw(Clock::time_point now);

    std::string name_;
    std::uint64_t done_, total_, drawn_bytes_;
    Clock::time_point start_ = Clock::now(), drawn_ = start_;
    double rate_ = 0;
    bool visible_, is_drawn_ = false;
};

}  // namespace virtgate::ctl::tools
