// SPDX-License-Identifier: LGPL-2.1-or-later
// console - what "virtgate up" shows: log lines on standard error, news for a person on standard output.
#include "ctl/up/console.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "libshared/base/log.h"

namespace virtgate::ctl::up {

namespace {

struct Style {
    std::string_view word, colour;
};

constexpr Style style_of(Level level) noexcept {
    switch (level) {
        case Level::debug: return {"debug: ", "\033[2m"};
        case Level::info: return {"", ""};
        case Level::warning: return {"warning: ", "\033[33m"};
        case Level::error: return {"error: ", "\033[1;31m"};
    }
    return {"", ""};
}

void write_all(int fd, std::string_view text) noexcept {
    while (!text.empty()) {
        const ssize_t n = write(fd, text.data(), text.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;  // nobody is left to read it
        text.remove_prefix(static_cast<std::size_t>(n));
    }
}

// https://no-color.org: any value of the variable counts, but not an empty one.
bool use_colour() noexcept {
    static const bool use = [] {
        const char* unwanted = getenv("NO_COLOR");
        return isatty(STDERR_FILENO) == 1 && (unwanted == nullptr || *unwanted == '\0');
    }();
    return use;
}

void write_line(Level level, std::string_view line) noexcept {
    const Style style = style_of(level);
    const bool colour = use_colour() && !style.colour.empty();
    try {
        write_all(STDERR_FILENO, fmt::format("{}{}{}{}\n", colour ? style.colour : "", style.word, line,
                                             colour ? "\033[0m" : ""));
    } catch (...) {
        write_all(STDERR_FILENO, "error: out of memory while logging\n");
    }
}

}  // namespace

void log_for_people() noexcept { set_log_sink(write_line); }

void tell(std::string_view text) noexcept { write_all(STDOUT_FILENO, text); }

}  // namespace virtgate::ctl::up
