// SPDX-License-Identifier: LGPL-2.1-or-later
// prompt - a password from whoever calls, and one that nobody guesses.
#include "ctl/passwd/prompt.h"

#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>

#include "libshared/userdb/users.h"

namespace virtgate::ctl::passwd {

namespace {

constexpr std::array k_signals{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
volatile std::sig_atomic_t g_signal = 0;

void note_signal(int number) { g_signal = number; }

// While it lives the terminal does not show what is typed, and signals are noted. They come only while somebody waits
// for input with waiting_mask(): one between the question and the wait would otherwise be seen at the next key.
class Silence {
public:
    explicit Silence(int fd) : fd_(fd) {
        g_signal = 0;
        sigset_t held;
        sigemptyset(&held);
        for (const int number : k_signals) sigaddset(&held, number);
        sigprocmask(SIG_BLOCK, &held, &old_mask_);
        struct sigaction action {};
        action.sa_handler = &note_signal;
        for (std::size_t i = 0; i < k_signals.size(); ++i) sigaction(k_signals[i], &action, &old_actions_[i]);
        if (tcgetattr(fd_, &old_) < 0) return;
        termios quiet = old_;
        quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
        quiet.c_lflag |= ECHONL;
        changed_ = tcsetattr(fd_, TCSAFLUSH, &quiet) == 0;
    }
    ~Silence() {
        if (changed_) tcsetattr(fd_, TCSAFLUSH, &old_);
        for (std::size_t i = 0; i < k_signals.size(); ++i) sigaction(k_signals[i], &old_actions_[i], nullptr);
        sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
    }
    [[nodiscard]] const sigset_t* waiting_mask() const noexcept { return &old_mask_; }
    Silence(const Silence&) = delete;
    Silence& operator=(const Silence&) = delete;
    [[nodiscard]] bool works() const noexcept { return changed_; }

private:
    int fd_;
    termios old_{};
    std::array<struct sigaction, k_signals.size()> old_actions_{};
    sigset_t old_mask_{};
    bool changed_ = false;
};

// Reads byte by byte: what is behind the line is for whoever reads next.
// `mask`: of the signals that are held back while nothing is waited for; null: none are.
Result<std::string> read_bytes(int fd, const sigset_t* mask) {
    std::string line;
    line.reserve(userdb::k_password_max + 2);  // never moved, so that no copy stays behind
    for (;;) {
        char c = 0;
        pollfd input{.fd = fd, .events = POLLIN, .revents = 0};
        const ssize_t n = ppoll(&input, 1, nullptr, mask) < 0 ? -1 : read(fd, &c, 1);
        if (n < 0 && errno == EINTR && g_signal == 0) continue;
        if (n < 0) return system_fault(errno, "cannot read the password");
        if (n == 0 && line.empty()) return system_fault(0, "there is no password to read");
        if (n == 0 || c == '\n') return line;
        line += c;
        if (line.size() > userdb::k_password_max) {
            userdb::wipe(line);
            return system_fault(0, fmt::format("a password has at most {} bytes", userdb::k_password_max));
        }
    }
}

}  // namespace

Result<std::string> ask(int fd, const std::string& question) {
    for (;;) {
        Result<std::string> line = system_fault(0, "the terminal cannot hide what is typed");
        {
            const Silence silence{fd};
            if (silence.works()) {
                fmt::print(stderr, "{}: ", question);
                std::fflush(stderr);
                line = read_bytes(fd, silence.waiting_mask());
            }
        }
        if (g_signal == 0) return line;
        // Now with the old handlers: usually it ends here. After SIGTSTP and SIGCONT the question is asked
        // again.
        const int number = g_signal;
        g_signal = 0;
        if (line) userdb::wipe(*line);
        raise(number);
        if (number != SIGTSTP) return line;
    }
}

Result<std::string> read_line(int fd) {
    g_signal = 0;
    return read_bytes(fd, nullptr);
}

std::string generate() {
    constexpr std::string_view k_characters = "abcdefghjkmnpqrstuvwxyz023456789";
    static_assert(k_characters.size() == 32, "one character for five bits");
    std::string text;
    for (const std::byte byte : userdb::random_bytes(20)) {
        if (!text.empty() && text.size() % 5 == 4) text += '-';
        text += k_characters[std::to_integer<unsigned>(byte) % k_characters.size()];
    }
    return text;
}

}  // namespace virtgate::ctl::passwd
