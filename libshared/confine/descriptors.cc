// SPDX-License-Identifier: LGPL-2.1-or-later
// descriptors - a process has those that are meant for it, and no other.
#include "libshared/confine/descriptors.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <string>

#include "libshared/base/handle.h"
#include "libshared/fdmap.h"

namespace virtgate::confine {

namespace {

using Directory = std::unique_ptr<DIR, FreeWith<closedir>>;

int socket_option(int fd, int option) noexcept {
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

FdKind find_socket_kind(int fd) noexcept {
    if (socket_option(fd, SO_ACCEPTCONN) == 1) return FdKind::listener;
    switch (socket_option(fd, SO_TYPE)) {
        case SOCK_SEQPACKET: return socket_option(fd, SO_DOMAIN) == AF_UNIX ? FdKind::channel : FdKind::other;
        case SOCK_STREAM: return FdKind::stream;
        case SOCK_DGRAM: return socket_option(fd, SO_DOMAIN) == AF_UNIX ? FdKind::datagrams : FdKind::other;
        default: return FdKind::other;
    }
}

// Anonymous inodes have no type; their name in /proc does.
bool is_loop(int fd) noexcept {
    std::array<char, 64> target{};
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    const ssize_t size = readlink(path.c_str(), target.data(), target.size());
    const std::string_view name(target.data(), size < 0 ? 0 : static_cast<std::size_t>(size));
    return name == "anon_inode:[eventpoll]" || name == "anon_inode:[eventfd]" ||
           name == "anon_inode:[timerfd]" || name == "anon_inode:[signalfd]";
}

// A pipe of which this process has both ends leads to nobody else: libevent wakes itself through one.
void mark_own_pipes(std::vector<OpenFd>& open) noexcept {
    struct End {
        ino_t inode = 0;
        int mode = 0;
    };
    const auto end_of = [](const OpenFd& one) {
        struct stat about {};
        const int flags = fcntl(one.fd, F_GETFL);
        return fstat(one.fd, &about) < 0 || flags < 0 ? End{} : End{about.st_ino, flags & O_ACCMODE};
    };
    std::vector<End> ends;
    for (const auto& one : open) ends.push_back(one.kind == FdKind::pipe ? end_of(one) : End{});
    for (std::size_t i = 0; i < open.size(); ++i)
        if (ends[i].inode != 0 && std::any_of(ends.begin(), ends.end(), [&](const End& other) {
                return other.inode == ends[i].inode && other.mode != ends[i].mode;
            }))
            open[i].kind = FdKind::loop;
}

bool is_null_device(const struct stat& about) noexcept {
    return S_ISCHR(about.st_mode) && about.st_rdev == makedev(1, 3);  // Linux: admin-guide/devices.txt
}

}  // namespace

std::string_view to_text(FdKind kind) noexcept {
    switch (kind) {
        case FdKind::null: return "/dev/null";
        case FdKind::pipe: return "a pipe";
        case FdKind::channel: return "a channel";
        case FdKind::stream: return "a stream socket";
        case FdKind::listener: return "a listening socket";
        case FdKind::datagrams: return "a datagram socket";
        case FdKind::file: return "a file";
        case FdKind::directory: return "a directory";
        case FdKind::loop: return "an event loop's";
        case FdKind::other: return "something else";
    }
    panic("a kind of descriptor without a name");
}

Result<FdKind> find_kind(int fd) {
    struct stat about {};
    if (fstat(fd, &about) < 0) return system_fault(errno, fmt::format("cannot look at descriptor {}", fd));
    switch (about.st_mode & S_IFMT) {
        case S_IFIFO: return FdKind::pipe;
        case S_IFSOCK: return find_socket_kind(fd);
        case S_IFREG: return FdKind::file;
        case S_IFDIR: return FdKind::directory;
        default: break;
    }
    if (is_null_device(about)) return FdKind::null;
    return is_loop(fd) ? FdKind::loop : FdKind::other;
}

Result<std::vector<OpenFd>> list_descriptors() {
    const Directory directory{opendir("/proc/self/fd")};
    if (!directory) return system_fault(errno, "cannot read /proc/self/fd");
    std::vector<OpenFd> found;
    for (;;) {
        errno = 0;
        const dirent* entry = readdir(directory.get());
        if (entry == nullptr) {
            if (errno != 0) return system_fault(errno, "cannot read /proc/self/fd");
            break;
        }
        int fd = -1;
        const char* end = entry->d_name + std::strlen(entry->d_name);
        if (std::from_chars(entry->d_name, end, fd).ptr != end || fd == dirfd(directory.get())) continue;
        auto kind = find_kind(fd);
        if (!kind) return tl::unexpected<Error>(std::move(kind.error()));
        found.push_back({fd, *kind});
    }
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.fd < b.fd; });
    mark_own_pipes(found);
    return found;
}

Done check_descriptors(std::span<const MeantFd> meant) {
    auto open = list_descriptors();
    if (!open) return tl::unexpected<Error>(std::move(open.error()));
    std::string differences;
    const auto differ = [&](std::string text) {
        if (!differences.empty()) differences += "; ";
        differences += text;
    };
    for (const auto& row : meant) {
        if (row.fd == MeantFd::k_any_number) continue;
        const auto found =
            std::find_if(open->begin(), open->end(), [&](const OpenFd& one) { return one.fd == row.fd; });
        if (found == open->end())
            differ(fmt::format("{} is not open", row.fd));
        else if (!row.may_be(found->kind))
            differ(fmt::format("{} is {}, not {}", row.fd, to_text(found->kind), to_text(row.kinds.front())));
    }
    for (const auto& one : *open)
        if (std::none_of(meant.begin(), meant.end(), [&](const MeantFd& row) { return row.covers(one); }))
            differ(fmt::format("{} ({}) is open", one.fd, to_text(one.kind)));
    if (!differences.empty())
        return system_fault(0, "the descriptors are not those that are meant: " + differences);
    return {};
}

std::vector<MeantFd> child_descriptors(FdKind control, std::vector<MeantFd> own) {
    own.insert(own.begin(), {{STDIN_FILENO, {FdKind::null}},
                             {STDOUT_FILENO, {FdKind::pipe}},
                             {STDERR_FILENO, {FdKind::pipe}},
                             {fdmap::k_control, {control}},
                             {MeantFd::k_any_number, {FdKind::loop}}});
    return own;
}

bool MeantFd::may_be(FdKind kind) const noexcept {
    return kinds.empty() || std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

bool MeantFd::covers(const OpenFd& open) const noexcept {
    return fd == k_any_number ? may_be(open.kind) : fd == open.fd;
}

}  // namespace virtgate::confine
