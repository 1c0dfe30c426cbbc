// SPDX-License-Identifier: LGPL-2.1-or-later
// inquiry - have one of our programs say something about itself, and end.
#include "ctl/inquiry.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>

#include "libshared/spawn/child.h"

namespace virtgate::ctl {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds k_patience{20};
constexpr std::size_t k_size_max = std::size_t{1} << 20;

// All that it writes until it closes its end. Error: system's fault.
Result<std::string> read_all(int fd) {
    std::string text;
    const auto deadline = Clock::now() + k_patience;
    for (std::array<char, 16384> buffer{};;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
        pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
        const int ready = left.count() <= 0 ? 0 : poll(&wait, 1, static_cast<int>(left.count()));
        if (ready == 0) return system_fault(0, "it does not answer");
        const ssize_t size = ready < 0 ? -1 : read(fd, buffer.data(), buffer.size());
        if (size == 0) return text;
        if (size < 0 && errno != EINTR && errno != EAGAIN) return system_fault(errno, "cannot read from it");
        if (size > 0) text.append(buffer.data(), static_cast<std::size_t>(size));
        if (text.size() > k_size_max) return system_fault(0, "it does not end");
    }
}

spawn::Exit wait_for(pid_t pid) noexcept {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFSIGNALED(status) ? spawn::Exit{true, WTERMSIG(status)}
                               : spawn::Exit{false, WEXITSTATUS(status)};
}

// "<3>text": what a daemon logs begins with a priority.
std::string_view without_priority(std::string_view line) noexcept {
    if (line.size() > 2 && line[0] == '<' && line[2] == '>') line.remove_prefix(3);
    return line;
}

}  // namespace

Result<Reply> ask_program(Inquiry inquiry) {
    spawn::Launch launch;
    launch.path = std::move(inquiry.path);
    launch.name = std::move(inquiry.name);
    launch.arguments = std::move(inquiry.arguments);
    launch.keeps_capabilities = inquiry.keeps_capabilities;
    auto child = spawn::start(std::move(launch));
    if (!child) return tl::unexpected(child.error());
    auto text = read_all(child->log.get());
    if (!text) kill(child->pid, SIGKILL);
    const spawn::Exit exit = wait_for(child->pid);
    if (!text) return tl::unexpected(std::move(text.error()));
    return Reply{std::move(*text), exit};
}

std::string_view last_line(std::string_view text) noexcept {
    while (text.ends_with('\n')) text.remove_suffix(1);
    text.remove_prefix(text.rfind('\n') + 1);  // npos + 1 is 0
    return without_priority(text);
}

std::vector<std::string_view> lines_of(std::string_view text) {
    std::vector<std::string_view> lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        if (end != 0) lines.push_back(without_priority(text.substr(0, end)));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
}

}  // namespace virtgate::ctl
