// SPDX-License-Identifier: LGPL-2.1-or-later
// log_relay - pass on what a child writes to its standard error, in the child's name.
#include "libshared/spawn/log_relay.h"

#include <unistd.h>

#include <array>
#include <cerrno>

#include "libshared/base/bytes.h"
#include "libshared/base/log.h"

namespace virtgate::spawn {

namespace {

// The level that a line's "<N>" asks for; removes it from the line.
Level take_level(std::string_view& line) noexcept {
    if (line.size() < 3 || line[0] != '<' || line[2] != '>' || line[1] < '0' || line[1] > '7')
        return Level::warning;
    const char priority = line[1];
    line.remove_prefix(3);
    return priority <= '3'   ? Level::error
           : priority == '4' ? Level::warning
           : priority <= '6' ? Level::info
                             : Level::debug;
}

// Makes control bytes and what is not UTF-8 visible, but leaves quotes and backslashes alone: our own
// children have escaped what they quote.
std::string clean(std::string_view line) {
    std::string out;
    while (!line.empty()) {
        const std::size_t plain = std::min(line.find_first_of("\"\\"), line.size());
        out += escape(line.substr(0, plain), 4 * LogRelay::k_line_max);
        if (plain < line.size()) out += line[plain];
        line.remove_prefix(std::min(plain + 1, line.size()));
    }
    return out;
}

}  // namespace

LogRelay::LogRelay(loop::Loop& loop, UniqueFd pipe, std::string subject, unsigned lines_per_second)
    : pipe_(std::move(pipe)), subject_(std::move(subject)), lines_per_second_(lines_per_second) {
    watch_ = loop.watch(pipe_.get(), loop::Want::read, loop::to<&LogRelay::on_readable>(*this));
    second_ = loop.timer(loop::to<&LogRelay::on_second>(*this));
}

LogRelay::~LogRelay() { report_dropped(); }

void LogRelay::on_readable(loop::Want) noexcept { static_cast<void>(read_some()); }

void LogRelay::drain() noexcept {
    // Bounded: a grandchild might hold the pipe and write for ever.
    for (int i = 0; i < 64 && read_some(); ++i) {
    }
    if (!line_.empty()) finish_line();
}

// True if there may be more.
bool LogRelay::read_some() noexcept {
    std::array<char, 4096> buffer;
    if (!pipe_) return false;
    const ssize_t n = read(pipe_.get(), buffer.data(), buffer.size());
    if (n > 0) {
        take({buffer.data(), static_cast<std::size_t>(n)});
        return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return errno == EINTR;
    watch_.reset();
    pipe_.reset();
    return false;
}

void LogRelay::take(std::string_view bytes) {
    while (!bytes.empty()) {
        const std::size_t end = bytes.find('\n');
        const std::string_view part = bytes.substr(0, end);
        const std::size_t room = k_line_max - line_.size();
        line_ += part.substr(0, room);
        cut_ = cut_ || part.size() > room;
        if (end == std::string_view::npos) return;
        finish_line();
        bytes.remove_prefix(end + 1);
    }
}

bool LogRelay::may_speak() {
    if (!second_->running()) second_->start(Milliseconds{1000});
    if (++lines_ <= lines_per_second_) return true;
    ++dropped_;
    return false;
}

void LogRelay::on_second() noexcept {
    lines_ = 0;
    report_dropped();
}

void LogRelay::report_dropped() noexcept {
    if (dropped_ == 0) return;
    Log(subject_).warning("{} lines of it were dropped", dropped_);
    dropped_ = 0;
}

void LogRelay::finish_line() {
    std::string_view line = line_;
    const Level level = take_level(line);
    if (may_speak() && !line.empty()) write_log_line(level, subject_, clean(line) + (cut_ ? "..." : ""));
    line_.clear();
    cut_ = false;
}

}  // namespace virtgate::spawn
