// SPDX-License-Identifier: LGPL-2.1-or-later
// port_holder - which process listens on a TCP port already.
#include "netd/port_holder.h"

#include <dirent.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <optional>
#include <string_view>

#include "libshared/base/handle.h"
#include "libshared/base/process.h"

namespace virtgate::netd {

namespace {

using Directory = std::unique_ptr<DIR, FreeWith<closedir>>;
using File = std::unique_ptr<std::FILE, FreeWith<std::fclose>>;

struct Socket {
    unsigned long inode = 0;
    unsigned uid = 0;
};

// The socket that listens on `port`, in a table of the kernel.
std::optional<Socket> find_listening(const char* table, std::uint16_t port) {
    constexpr unsigned k_listening = 10;  // TCP_LISTEN
    const File file{std::fopen(table, "re")};
    std::array<char, 512> line;
    while (file && std::fgets(line.data(), line.size(), file.get()) != nullptr) {
        unsigned local_port = 0, state = 0;
        Socket found;
        // sl local_address:port remote_address:port state queues timer retransmits uid timeout inode
        if (std::sscanf(line.data(), " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %u %*d %lu",
                        &local_port, &state, &found.uid, &found.inode) == 4 &&
            local_port == port && state == k_listening)
            return found;
    }
    return std::nullopt;
}

bool has_socket(pid_t pid, std::string_view link) {
    const std::string path = fmt::format("/proc/{}/fd", pid);
    const Directory directory{opendir(path.c_str())};
    std::array<char, 64> target;
    while (const dirent* entry = directory ? readdir(directory.get()) : nullptr) {
        const ssize_t size = readlinkat(dirfd(directory.get()), entry->d_name, target.data(), target.size());
        if (size > 0 && std::string_view(target.data(), static_cast<std::size_t>(size)) == link) return true;
    }
    return false;
}

}  // namespace

std::string find_port_holder(std::uint16_t port) {
    auto socket = find_listening("/proc/net/tcp6", port);
    if (!socket) socket = find_listening("/proc/net/tcp", port);
    if (!socket) return {};
    const std::string link = fmt::format("socket:[{}]", socket->inode);
    const Directory processes{opendir("/proc")};
    while (const dirent* entry = processes ? readdir(processes.get()) : nullptr) {
        const std::string_view name = entry->d_name;
        pid_t pid = 0;
        const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (error == std::errc{} && end == name.data() + name.size() && has_socket(pid, link))
            return name_process(pid);
    }
    return fmt::format("a process of user {}", socket->uid);
}

}  // namespace virtgate::netd
