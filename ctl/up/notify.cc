// SPDX-License-Identifier: LGPL-2.1-or-later
// notify - hears from daemons that they are ready, and takes descriptors that they leave.
#include "ctl/up/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "libshared/base/path_fault.h"

namespace virtgate::ctl::up {

namespace {

constexpr std::size_t k_notice_max = 4096;

// What the kernel says of a notice.
struct Origin {
    pid_t pid = 0;  // 0: it does not say
    UniqueFd fd;
    std::size_t fds = 0;
};

// Takes ownership of every descriptor in `message`, also of those that nobody wants.
Origin read_control(msghdr& message) noexcept {
    Origin origin;
    for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET) continue;
        if (head->cmsg_type == SCM_CREDENTIALS) {
            ucred sender{};
            std::memcpy(&sender, CMSG_DATA(head), sizeof sender);
            origin.pid = sender.pid;
        } else if (head->cmsg_type == SCM_RIGHTS) {
            for (std::size_t at = 0; at < head->cmsg_len - CMSG_LEN(0); at += sizeof(int), ++origin.fds) {
                int fd = -1;
                std::memcpy(&fd, CMSG_DATA(head) + at, sizeof fd);
                origin.fd = UniqueFd{fd};
            }
        }
    }
    return origin;
}

std::optional<std::uint16_t> parse_port(std::string_view digits) noexcept {
    std::uint16_t port = 0;
    const auto [rest, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (failure != std::errc{} || rest != digits.data() + digits.size() || port == 0) return std::nullopt;
    return port;
}

}  // namespace

// An unknown line is no mistake: the protocol has many names, and daemons may send more than is needed here.
Notice parse_notice(std::string_view text) {
    constexpr std::string_view k_status = "STATUS=", k_name = "FDNAME=", k_tls_port = "X_VIRTGATE_TLS_PORT=",
                               k_tcp_port = "X_VIRTGATE_TCP_PORT=";
    Notice notice;
    notice.name = "stored";
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line == "READY=1")
            notice.ready = true;
        else if (line == "FDSTORE=1")
            notice.stores = true;
        else if (line == "FDSTOREREMOVE=1")
            notice.removes = true;
        else if (line.starts_with(k_name))
            notice.name = line.substr(k_name.size());
        else if (line.starts_with(k_status))
            notice.status = line.substr(k_status.size());
        else if (line.starts_with(k_tls_port))
            notice.tls_port = parse_port(line.substr(k_tls_port.size()));
        else if (line.starts_with(k_tcp_port))
            notice.tcp_port = parse_port(line.substr(k_tcp_port.size()));
    }
    return notice;
}

Result<NotifySocket> NotifySocket::make(const std::string& path) {
    UniqueFd fd{socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!fd) return system_fault(errno, "cannot make a socket");
    const int on = 1;
    if (setsockopt(fd.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0)
        return system_fault(errno, "cannot ask for the senders' pids");
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return system_fault(ENAMETOOLONG, path);
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    if (unlink(path.c_str()) < 0 && errno != ENOENT) return path_fault(errno, "cannot remove", path);
    // The directory is this user's: nobody else can bind or reach the name.
    if (bind(fd.get(), static_cast<const sockaddr*>(static_cast<const void*>(&address)), sizeof address) < 0)
        return system_fault(errno, fmt::format("cannot bind a socket to {}", path));
    return NotifySocket{std::move(fd), path};
}

NotifySocket::~NotifySocket() {
    if (socket_) unlink(path_.c_str());
}

std::optional<Notice> NotifySocket::receive() {
    for (;;) {
        std::array<char, k_notice_max> text;
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int))> control{};
        iovec part{text.data(), text.size()};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t n = recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return std::nullopt;
        // More descriptors than there is room for are closed by the kernel (MSG_CTRUNC).
        Origin origin = read_control(message);
        if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || origin.pid == 0 || origin.fds > 1)
            continue;
        Notice notice = parse_notice({text.data(), static_cast<std::size_t>(n)});
        notice.pid = origin.pid;
        notice.fd = std::move(origin.fd);
        return notice;
    }
}

}  // namespace virtgate::ctl::up
