// SPDX-License-Identifier: LGPL-2.1-or-later
// meter - what a measurement window costs and how its calls are spread: CPU time of processes, quantiles.
#include "tests/bench/meter.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

namespace virtgate::bench {

std::uint64_t now_ns() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1000000000u + static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t read_cpu(pid_t pid) noexcept {
    // Exact to the nanosecond, unlike the clock ticks of /proc/PID/stat.
    clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
    timespec used{};
    if (pid != 0 && ::clock_getcpuclockid(pid, &clock) != 0) return 0;
    if (::clock_gettime(clock, &used) != 0) return 0;
    return static_cast<std::uint64_t>(used.tv_sec) * 1000000000u + static_cast<std::uint64_t>(used.tv_nsec);
}

void Window::start() {
    cpu_.clear();
    for (const pid_t pid : watched_) cpu_.push_back(read_cpu(pid));
    self_cpu_ = read_cpu(0);
    began_ = now_ns();
}

void Window::stop() {
    ended_ = now_ns();
    self_cpu_ = read_cpu(0) - self_cpu_;
    for (std::size_t i = 0; i < watched_.size(); ++i) {
        const std::uint64_t now = read_cpu(watched_[i]);
        cpu_[i] = now > cpu_[i] ? now - cpu_[i] : 0;
    }
}

std::string Window::to_json() const {
    std::string members =
        fmt::format("\"seconds\": {:.4f}, \"self_cpu_ns\": {}, \"cpu_ns\": {{", seconds(), self_cpu_);
    for (std::size_t i = 0; i < watched_.size(); ++i)
        members += fmt::format("{}\"{}\": {}", i == 0 ? "" : ", ", watched_[i], cpu_[i]);
    return members + "}";
}

std::uint64_t take_quantile(std::vector<std::uint64_t>& samples, double share) {
    if (samples.empty()) return 0;
    const auto rank = static_cast<std::size_t>(share * static_cast<double>(samples.size() - 1) + 0.5);
    std::nth_element(samples.begin(), samples.begin() + static_cast<std::ptrdiff_t>(rank), samples.end());
    return samples[rank];
}

std::string summarise(std::vector<std::uint64_t>& samples, double seconds) {
    const double rate = seconds > 0 ? static_cast<double>(samples.size()) / seconds : 0;
    const double p50 = static_cast<double>(take_quantile(samples, 0.50)) / 1e3;
    const double p99 = static_cast<double>(take_quantile(samples, 0.99)) / 1e3;
    return fmt::format("\"count\": {}, \"rate\": {:.2f}, \"p50_us\": {:.1f}, \"p99_us\": {:.1f}",
                       samples.size(), rate, p50, p99);
}

}  // namespace virtgate::bench
