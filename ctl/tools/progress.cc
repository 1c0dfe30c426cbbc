// SPDX-License-Identifier: LGPL-2.1-or-later
// progress - how far a transfer is, on a terminal.
#include "ctl/tools/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "ctl/tools/table.h"

namespace virtgate::ctl::tools {

namespace {

constexpr std::chrono::milliseconds k_interval{200};
// How much of the old rate stays with each drawing: the time left should not jump.
constexpr double k_inertia = 0.8;

std::size_t columns_of_terminal() {
    winsize size{};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string draw_progress(const std::string& name, std::uint64_t done, std::uint64_t total, double rate,
                          std::size_t columns) {
    std::string right = fmt::format("  {}/s", show_size(static_cast<std::uint64_t>(rate)));
    if (total == 0) return fmt::format("{}  {}{}", name, show_size(done), right);
    if (rate >= 1) {
        const double left = static_cast<double>(total - std::min(done, total)) / rate;
        right +=
            left < 1e6 ? fmt::format("  {} left", show_time(static_cast<std::uint64_t>(left + 0.5))) : "";
    }
    const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
    const std::string middle =
        fmt::format(" {:3}%  {} of {}", static_cast<int>(part * 100), show_size(done), show_size(total));
    // The bar takes what is left of the line, and none if there is little.
    const std::size_t taken = name.size() + middle.size() + right.size() + 5;
    if (columns < taken + 8) return name + middle + right;
    const std::size_t width = std::min<std::size_t>(columns - taken, 40);
    const auto filled = static_cast<std::size_t>(part * static_cast<double>(width));
    return fmt::format("{}  [{}{}]{}{}", name, std::string(filled, '#'), std::string(width - filled, '.'),
                       middle, right);
}

Progress::Progress(std::string name, std::uint64_t start, std::uint64_t total)
    : name_(std::move(name)),
      done_(start),
      total_(total),
      drawn_bytes_(start),
      visible_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
    if (!is_drawn_) return;
    draw(Clock::now());
    fmt::print(stderr, "\n");
}

double Progress::seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

void Progress::add(std::uint64_t bytes) {
    done_ += bytes;
    if (!visible_) return;
    if (const auto now = Clock::now(); now - drawn_ >= k_interval) draw(now);
}

void Progress::draw(Clock::time_point now) {
    const double passed = std::max(1e-3, std::chrono::duration<double>(now - drawn_).count());
    const double recent = static_cast<double>(done_ - drawn_bytes_) / passed;
    if (now - drawn_ >= k_interval)
        rate_ = rate_ == 0 ? recent : k_inertia * rate_ + (1 - k_inertia) * recent;
    drawn_ = now;
    drawn_bytes_ = done_;
    is_drawn_ = true;
    fmt::print(stderr, "\r{}\x1b[K", draw_progress(name_, done_, total_, rate_, columns_of_terminal()));
    std::fflush(stderr);
}

}  // namespace virtgate::ctl::tools
