// SPDX-License-Identifier: LGPL-2.1-or-later
// log - one line per event, with a severity and the subject it is about.
//
// Words for severity (what an administrator should do):
//   debug    nothing; off by default
//   info     nothing; what happened, and what peers did wrong
//   warning  look when there is time
//   error    act: the machine or the configuration is in the way
//   panic is not here: see result.h.
//
// Trust:  text that a peer chose must pass escape() (bytes.h) before it becomes an argument.
// Limits: a line has at most 2,048 bytes; the rest is cut.
// Owns:   nothing. Lines go to standard error with systemd's <N> priority prefix: there the journal, a terminal,
//         or the parent process reads them. A child's parent adds the child's name, so a taken-over child cannot
//         speak in the name of another one.
#pragma once

#include <fmt/core.h>

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace virtgate {

enum class Level : unsigned char { debug, info, warning, error };

// Lines below `level` are dropped from now on. The default is info.
void set_log_level(Level level) noexcept;
[[nodiscard]] Level log_level() noexcept;

// "debug", "info", "warning", "error"; false if `text` is none of them.
[[nodiscard]] bool parse_level(std::string_view text, Level& level) noexcept;

// Where finished lines go; for tests. Null restores standard error. `line` has neither prefix nor newline.
using LogSink = void (*)(Level level, std::string_view line) noexcept;
void set_log_sink(LogSink sink) noexcept;

// Writes one finished line. Newlines and other control characters in it become \xNN.
void write_log_line(Level level, std::string_view subject, std::string_view line) noexcept;

// Speaks about one subject: "session 12 alice", "keeper", or nothing.
class Log {
public:
    Log() = default;
    explicit Log(std::string subject) : subject_(std::move(subject)) {}

    template <class... A>
    void debug(fmt::format_string<A...> format, A&&... arguments) const noexcept {
        say(Level::debug, format, std::forward<A>(arguments)...);
    }
    template <class... A>
    void info(fmt::format_string<A...> format, A&&... arguments) const noexcept {
        say(Level::info, format, std::forward<A>(arguments)...);
    }
    template <class... A>
    void warning(fmt::format_string<A...> format, A&&... arguments) const noexcept {
        say(Level::warning, format, std::forward<A>(arguments)...);
    }
    template <class... A>
    void error(fmt::format_string<A...> format, A&&... arguments) const noexcept {
        say(Level::error, format, std::forward<A>(arguments)...);
    }

private:
    template <class... A>
    void say(Level level, fmt::format_string<A...> format, A&&... arguments) const noexcept {
        if (level < log_level()) return;
        try {
            write_log_line(level, subject_, fmt::format(format, std::forward<A>(arguments)...));
        } catch (...) {
            write_log_line(Level::error, subject_, "a log line could not be formatted");
        }
    }

    std::string subject_;
};

// Which of many events of one kind are told: what a peer can cause again and again must not fill the log. The first
// sixteen, and then each that is a power of two.
class Sparse {
public:
    // Counts one more event; true if it is to be told.
    [[nodiscard]] bool next() noexcept {
        constexpr std::uint64_t k_told_always = 16;
        ++count_;
        return count_ <= k_told_always || std::has_single_bit(count_);
    }
    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

private:
    std::uint64_t count_ = 0;
};

}  // namespace virtgate
