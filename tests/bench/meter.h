// SPDX-License-Identifier: LGPL-2.1-or-later
// meter - what a measurement window costs and how its calls are spread: CPU time of processes, quantiles.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace virtgate::bench {

// Monotonic time in nanoseconds.
[[nodiscard]] std::uint64_t now_ns() noexcept;

// CPU time in nanoseconds that the process `pid` has used, with the threads that have ended; 0 if it is gone.
// A `pid` of 0 stands for this process.
[[nodiscard]] std::uint64_t read_cpu(pid_t pid) noexcept;

// Measures from start() to stop().
class Window {
public:
    explicit Window(std::vector<pid_t> watched) : watched_(std::move(watched)) {}

    void start();
    void stop();
    [[nodiscard]] double seconds() const noexcept { return static_cast<double>(ended_ - began_) / 1e9; }
    // JSON members, without braces: seconds, CPU of this process and of each watched one in nanoseconds.
    [[nodiscard]] std::string to_json() const;

private:
    std::vector<pid_t> watched_;
    std::vector<std::uint64_t> cpu_;
    std::uint64_t self_cpu_ = 0;
    std::uint64_t began_ = 0;
    std::uint64_t ended_ = 0;
};

// The value below which `share` (0 to 1) of `samples` lie, in the samples' unit; 0 without samples. Reorders
// them.
[[nodiscard]] std::uint64_t take_quantile(std::vector<std::uint64_t>& samples, double share);

// JSON members: rate per second, p50_us, p99_us, of samples in nanoseconds.
[[nodiscard]] std::string summarise(std::vector<std::uint64_t>& samples, double seconds);

}  // namespace virtgate::bench
