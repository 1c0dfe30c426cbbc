// SPDX-License-Identifier: LGPL-2.1-or-later
// top - who is busy, shown again and again on a terminal.
#include "ctl/admin/top.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <string_view>

#include "ctl/output.h"
#include "libshared/spawn/exit.h"

namespace virtgate::ctl::admin {

namespace {

constexpr std::string_view k_clear = "\x1b[H\x1b[2J";
// The lines above the table, and the one where the cursor is.
constexpr std::size_t k_other_lines = 6;
constexpr std::size_t k_usual_lines = 24;

// Keys come one by one and are not shown, as long as this lives. A signal ends the program with its usual settings: they are
// what the terminal handles itself (ISIG stays).
class Keys {
public:
    Keys() noexcept {
        is_set_ = tcgetattr(STDIN_FILENO, &before_) == 0;
        termios now = before_;
        now.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG);
        if (is_set_) static_cast<void>(tcsetattr(STDIN_FILENO, TCSANOW, &now));
    }
    ~Keys() {
        if (is_set_) static_cast<void>(tcsetattr(STDIN_FILENO, TCSANOW, &before_));
    }
    Keys(const Keys&) = delete;
    Keys& operator=(const Keys&) = delete;

    // True if "q", Ctrl-C or Ctrl-D was typed within so many milliseconds, or nobody can type any more.
    [[nodiscard]] static bool ends(int patience) noexcept {
        constexpr char k_interrupt = 3, k_end = 4;
        pollfd waits{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
        if (poll(&waits, 1, patience) <= 0) return false;
        char key = 0;
        return read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == k_interrupt || key == k_end;
    }

private:
    termios before_{};
    bool is_set_ = false;
};

std::size_t rows_of_terminal() noexcept {
    winsize size{};
    const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > k_other_lines;
    return (known ? size.ws_row : k_usual_lines) - k_other_lines;
}

Look take_look(const Sockets& sockets) {
    Look look{.status = look_at_status(sockets, false), .sessions = {}};
    std::string problem;
    if (auto sessions = look_at_sessions(sockets, problem)) look.sessions = std::move(*sessions);
    return look;
}

}  // namespace

int run_top(const Sockets& sockets, unsigned interval) {
    if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0)
        return say("\"virtgate top\" needs a terminal; \"virtgate status --json\" does not",
                   spawn::k_exit_system);
    const Keys keys;
    Look before = take_look(sockets);
    auto then = std::chrono::steady_clock::now();
    int patience = 200;  // the first rates come soon
    while (!Keys::ends(patience)) {
        Look look = take_look(sockets);
        const auto now = std::chrono::steady_clock::now();
        const double seconds = std::chrono::duration<double>(now - then).count();
        const std::string text = top_text(before, look, seconds, rows_of_terminal());
        if (const int status = show(std::string(k_clear) + text + "q: end\n", 0); status != 0) return status;
        before = std::move(look);
        then = now;
        patience = static_cast<int>(interval) * 1000;
    }
    return 0;
}

}  // namespace virtgate::ctl::admin
