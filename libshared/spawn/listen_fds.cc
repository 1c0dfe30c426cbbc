// SPDX-License-Identifier: LGPL-2.1-or-later
// listen_fds - descriptors that the service manager hands to a daemon.
#include "libshared/spawn/listen_fds.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "libshared/base/bytes.h"

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

int socket_option(int fd, int option) noexcept {
    int value = 0;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

}  // namespace

Result<UniqueFd> take_listener(std::vector<NamedFd>& passed, std::string_view name, int type,
                               std::initializer_list<int> families) {
    const auto is_it = [&](const NamedFd& one) { return one.name == name; };
    const auto found = std::find_if(passed.begin(), passed.end(), is_it);
    if (found == passed.end()) return UniqueFd{};
    if (std::count_if(passed.begin(), passed.end(), is_it) > 1)
        return system_fault(0, fmt::format("the service manager passed two sockets called \"{}\"", name));
    const int fd = found->fd.get();
    const int family = socket_option(fd, SO_DOMAIN);
    if (socket_option(fd, SO_ACCEPTCONN) != 1 || socket_option(fd, SO_TYPE) != type ||
        std::find(families.begin(), families.end(), family) == families.end())
        return system_fault(
            0, fmt::format("what the service manager passed as \"{}\" is not a listening socket of its kind",
                           name));
    if (auto done = set_nonblocking(fd, true); !done) return tl::unexpected(std::move(done.error()));
    UniqueFd taken = std::move(found->fd);
    passed.erase(found);
    return taken;
}

Done expect_nothing_left(const std::vector<NamedFd>& passed) {
    if (passed.empty()) return {};
    return system_fault(
        0, fmt::format("the service manager passed a socket called \"{}\", which has no meaning here",
                       escape(passed.front().name, 64)));
}

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
