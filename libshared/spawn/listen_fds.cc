// SPDX-License-Identifier: LGPL-2.1-or-later
// listen_fds - descriptors that the service manager hands to a daemon.
#include "libshared/spawn/listen_fds.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

namespace virtgate::spawn {

namespace {

// The variable `name`, which is gone then: a child must not believe that it is meant.
std::optional<std::string> take_variable(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr) return std::nullopt;
    std::string text = value;
    unsetenv(name);
    return text;
}

std::optional<int> parse_number(std::string_view digits) noexcept {
    int number = 0;
    const auto [rest, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (failure != std::errc{} || rest != digits.data() + digits.size() || number < 0) return std::nullopt;
    return number;
}

std::vector<std::string> split(std::string_view names) {
    std::vector<std::string> parts;
    for (;;) {
        const std::size_t colon = names.find(':');
        parts.emplace_back(names.substr(0, colon));
        if (colon == names.npos) return parts;
        names.remove_prefix(colon + 1);
    }
}

}  // namespace

Result<std::vector<NamedFd>> take_listen_fds() {
    const auto pid = take_variable("LISTEN_PID");
    const auto count = take_variable("LISTEN_FDS");
    const auto names = take_variable("LISTEN_FDNAMES");
    if (!pid || !count) return std::vector<NamedFd>{};
    const auto meant = parse_number(*pid);
    if (!meant) return system_fault(0, "LISTEN_PID is not the number of a process");
    if (*meant != getpid()) return std::vector<NamedFd>{};
    const auto number = parse_number(*count);
    // Beyond that no descriptor can have a number.
    if (!number || *number > sysconf(_SC_OPEN_MAX))
        return system_fault(0, "LISTEN_FDS is not a number of descriptors");
    const auto size = static_cast<std::size_t>(*number);
    std::vector<std::string> called(size, k_listen_unnamed);
    if (names && size != 0) called = split(*names);
    if (called.size() != size)
        return system_fault(
            0, fmt::format("LISTEN_FDNAMES has {} names for {} descriptors", called.size(), size));
    for (int fd = k_listen_fds_start; fd < k_listen_fds_start + *number; ++fd)
        if (auto done = set_close_on_exec(fd, true); !done)
            return wrap(std::move(done.error()), fmt::format("descriptor {} of LISTEN_FDS", fd));
    std::vector<NamedFd> taken;
    taken.reserve(size);
    for (std::size_t i = 0; i < size; ++i)
        taken.push_back({std::move(called[i]), UniqueFd{k_listen_fds_start + static_cast<int>(i)}});
    return taken;
}

}  // namespace virtgate::spawn
