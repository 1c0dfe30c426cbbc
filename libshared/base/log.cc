// SPDX-License-Identifier: LGPL-2.1-or-later
// log - one line per event, written with a single system call.
#include "libshared/base/log.h"

#include <unistd.h>

#include <atomic>

#include "libshared/base/bytes.h"

namespace virtgate {

namespace {

constexpr std::size_t k_line_max = 2048;
std::atomic<Level> g_level{Level::info};
std::atomic<LogSink> g_sink{nullptr};

// syslog(3)'s numbers, as sd-daemon(3) wants them before a line.
constexpr const char* priority(Level level) noexcept {
    switch (level) {
        case Level::debug: return "<7>";
        case Level::info: return "<6>";
        case Level::warning: return "<4>";
        case Level::error: return "<3>";
    }
    return "<3>";
}

}  // namespace

void set_log_level(Level level) noexcept { g_level.store(level, std::memory_order_relaxed); }

Level log_level() noexcept { return g_level.load(std::memory_order_relaxed); }

bool parse_level(std::string_view text, Level& level) noexcept {
    constexpr std::string_view k_names[] = {"debug", "info", "warning", "error"};
    for (std::size_t i = 0; i < std::size(k_names); ++i) {
        if (text == k_names[i]) {
            level = static_cast<Level>(i);
            return true;
        }
    }
    return false;
}

void set_log_sink(LogSink sink) noexcept { g_sink.store(sink); }

void write_log_line(Level level, std::string_view subject, std::string_view line) noexcept {
    try {
        std::string text;
        if (!subject.empty()) {
            text += subject;
            text += ": ";
        }
        text += line;
        // Arguments were escaped by whoever knew that a peer chose them; this only keeps one event on one line.
        for (char& c : text)
            if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
        if (text.size() > k_line_max) text.replace(k_line_max, std::string::npos, "...");
        if (const LogSink sink = g_sink.load()) {
            sink(level, text);
            return;
        }
        text.insert(0, priority(level));
        text += '\n';
        // A log that cannot be written has nobody left to tell.
        static_cast<void>(!write(STDERR_FILENO, text.data(), text.size()));
    } catch (...) {
        static constexpr std::string_view k_lost = "<3>out of memory while logging\n";
        static_cast<void>(!write(STDERR_FILENO, k_lost.data(), k_lost.size()));
    }
}

}  // namespace virtgate
