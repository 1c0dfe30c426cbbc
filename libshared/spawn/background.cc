// SPDX-License-Identifier: LGPL-2.1-or-later
// background - run as a daemon where no service manager does it.
#include "libshared/spawn/background.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "libshared/base/log.h"
#include "libshared/base/path_fault.h"
#include "libshared/spawn/exit.h"

namespace virtgate::spawn {

namespace {

// A process that executes itself anew is a daemon already, and had the pid file: the variable has its number.
constexpr const char* k_mark = "VIRTGATE_DAEMON";
// For who was started in that moment, took the file and ends because the daemon is there.
constexpr int k_tries = 100;
constexpr useconds_t k_pause = 10'000;

// The pipe to whoever waits, and what replaces standard error afterwards.
struct Waiting {
    UniqueFd parent, nowhere;
};
Waiting& waiting() {
    static Waiting one;
    return one;
}

bool goes_on() noexcept {
    const char* const mark = std::getenv(k_mark);
    return mark != nullptr && mark == std::to_string(getpid());
}

// The process that was started: ends as the daemon says.
[[noreturn]] void await_daemon(const UniqueFd& pipe, pid_t child) noexcept {
    unsigned char status = k_exit_system;
    ssize_t size = 0;
    do size = read(pipe.get(), &status, 1);
    while (size < 0 && errno == EINTR);
    int ended = 0;
    waitpid(child, &ended, 0);
    _exit(size == 1 ? status : k_exit_system);
}

tl::unexpected<Error> no_process(int number) {
    auto error = system_fault(number, "cannot make the daemon's process");
    error.value().text += advice_for(number);
    return error;
}

Done leave_terminal() {
    std::array<int, 2> ends{};
    UniqueFd nowhere{open("/dev/null", O_RDWR | O_CLOEXEC)};
    if (!nowhere) return system_fault(errno, "cannot open /dev/null");
    if (pipe2(ends.data(), O_CLOEXEC) < 0) return system_fault(errno, "cannot make a pipe");
    UniqueFd theirs{ends[0]}, ours{ends[1]};
    const pid_t child = fork();
    if (child < 0) return no_process(errno);
    if (child > 0) {
        ours.reset();
        await_daemon(theirs, child);
    }
    // A session of its own, and no leader of it: no terminal can become its own.
    setsid();
    const pid_t second = fork();
    if (second < 0) return no_process(errno);
    if (second > 0) _exit(0);
    theirs.reset();
    if (chdir("/") < 0 || dup2(nowhere.get(), STDIN_FILENO) < 0 || dup2(nowhere.get(), STDOUT_FILENO) < 0)
        return system_fault(errno, "cannot leave the terminal");
    waiting() = {.parent = std::move(ours), .nowhere = std::move(nowhere)};
    return {};
}

}  // namespace

void tell_waiting_parent(int status) noexcept {
    const UniqueFd parent = std::move(waiting().parent);
    if (!parent) return;
    const UniqueFd nowhere = std::move(waiting().nowhere);
    if (status == 0 && nowhere) dup2(nowhere.get(), STDERR_FILENO);
    const auto byte = static_cast<unsigned char>(status);
    static_cast<void>(!write(parent.get(), &byte, 1));
}

Result<Background> Background::begin(const Options& options, const std::string& usual) {
    Background background;
    const bool again = goes_on();
    if (options.daemon && !again)
        if (auto done = leave_terminal(); !done) return tl::unexpected(std::move(done.error()));
    background.path_ = !options.pid_file.empty() || !options.daemon ? options.pid_file : usual;
    if (background.path_.empty()) return background;
    setenv(k_mark, std::to_string(getpid()).c_str(), 1);
    std::optional<Result<PidFile>> claimed{PidFile::claim(background.path_)};
    for (int turn = 0; again && !*claimed && turn < k_tries; ++turn) {
        usleep(k_pause);
        claimed.emplace(PidFile::claim(background.path_));
    }
    auto& file = *claimed;
    if (!file && !again) {
        tell_waiting_parent(status_of(file.error(), k_exit_system));
        return tl::unexpected(std::move(file.error()));
    }
    // What it serves is worth more than the file.
    if (file)
        background.file_.emplace(std::move(*file));
    else
        Log{}.error("{}", file.error().text);
    return background;
}

int Background::end(int status) noexcept {
    tell_waiting_parent(status != 0 ? status : k_exit_system);
    return status;
}

}  // namespace virtgate::spawn
