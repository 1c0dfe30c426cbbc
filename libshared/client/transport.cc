// SPDX-License-Identifier: LGPL-2.1-or-later
// transport - UNIX and TCP sockets, and the choice among all transports.
#include "libshared/client/transport.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "libshared/channel/connect.h"
#include "libshared/channel/packet.h"
#include "libshared/client/command.h"
#include "libshared/client/tls.h"

namespace virtgate::client {

namespace {

constexpr std::size_t k_fds_max = 32;

class SocketChannel final : public Channel {
public:
    SocketChannel(UniqueFd socket, bool is_secure, bool passes_descriptors)
        : socket_(std::move(socket)), is_secure_(is_secure), passes_descriptors_(passes_descriptors) {}

    [[nodiscard]] int fd() const noexcept override { return socket_.get(); }
    [[nodiscard]] bool is_secure() const noexcept override { return is_secure_; }
    [[nodiscard]] bool passes_descriptors() const noexcept override { return passes_descriptors_; }

    Result<Progress> read(MutableBytes buffer, std::vector<UniqueFd>& fds) override {
        std::size_t size = 0;
        channel::ReceivedFds received;
        const auto outcome = passes_descriptors_
                                 ? channel::receive_packet(socket_.get(), buffer, size, &received, k_fds_max)
                                 : channel::receive_some(socket_.get(), buffer, size);
        switch (outcome) {
            case channel::Outcome::done: break;
            case channel::Outcome::blocked: return Progress{Progress::Kind::blocked};
            case channel::Outcome::closed: return Progress{Progress::Kind::ended};
            case channel::Outcome::broken: return fail_system(errno, "cannot read from the server");
        }
        for (std::size_t i = 0; i < received.count(); ++i) fds.push_back(received.take(i));
        return Progress{Progress::Kind::moved, size};
    }

    Result<Progress> write(ByteView bytes) override {
        const ssize_t n = send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        return judge(n);
    }

    Result<Progress> send_descriptor(int fd) override {
        char byte = 0;
        iovec part{&byte, 1};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* const head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof fd);
        std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
        return judge(sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT));
    }

private:
    static Result<Progress> judge(ssize_t n) {
        if (n > 0) return Progress{Progress::Kind::moved, static_cast<std::size_t>(n)};
        if (errno == EAGAIN || errno == EINTR) return Progress{Progress::Kind::blocked};
        // What the server said before it closed can still be read: let the reader find the end.
        if (errno == EPIPE || errno == ECONNRESET) return Progress{Progress::Kind::ended};
        return fail_system(errno, "cannot write to the server");
    }

    UniqueFd socket_;
    bool is_secure_, passes_descriptors_;
};

// "ADDRESS;PORT" of what `get` (getsockname, getpeername) says.
template <class Get>
std::string name_end(int fd, Get get) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (get(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
        if (address.ss_family == AF_INET) {
            sockaddr_in v4{};
            std::memcpy(&v4, &address, sizeof v4);
            if (inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size()) != nullptr)
                return fmt::format("{};{}", text.data(), ntohs(v4.sin_port));
        }
        if (address.ss_family == AF_INET6) {
            sockaddr_in6 v6{};
            std::memcpy(&v6, &address, sizeof v6);
            if (inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size()) != nullptr)
                return fmt::format("{};{}", text.data(), ntohs(v6.sin6_port));
        }
    }
    return "127.0.0.1;0";
}

Result<std::unique_ptr<Channel>> connect_through_tls(const Uri& uri, const Environment& environment,
                                                     const Deadline& deadline) {
    auto paths = find_pki(uri.pkipath, environment);
    if (!paths) return tl::unexpected(paths.error());
    auto credentials = TlsCredentials::load(*paths, !uri.no_sanity);
    if (!credentials) return tl::unexpected(credentials.error());
    auto socket = connect_tcp_socket(uri.effective_host(), uri.effective_port(), deadline);
    if (!socket) return tl::unexpected(socket.error());
    return make_tls_channel(
        std::move(*socket), std::move(*credentials),
        {.host = uri.effective_host(), .priority = uri.tls_priority, .verify = !uri.no_verify}, deadline);
}

}  // namespace

Result<Progress> Channel::send_descriptor(int) {
    return fail(Cause::unsupported, "descriptors can be passed over a UNIX socket only");
}

EndNames name_ends(int fd) { return {name_end(fd, getsockname), name_end(fd, getpeername)}; }

std::unique_ptr<Channel> make_socket_channel(UniqueFd socket, bool is_secure, bool passes_descriptors) {
    return std::make_unique<SocketChannel>(std::move(socket), is_secure, passes_descriptors);
}

Result<std::unique_ptr<Channel>> connect_unix(const std::string& path, const Deadline& deadline) {
    constexpr Milliseconds k_pause{10};
    while (true) {
        auto socket = channel::connect_to(path, SOCK_STREAM);
        if (socket) return make_socket_channel(std::move(*socket), true, true);
        // A full queue of the listener passes without notice.
        if (socket.error().number != EAGAIN)
            return fail(
                {.cause = Cause::unreachable, .text = socket.error().text, .number = socket.error().number});
        if (deadline.stop.stop_requested()) return fail(Cause::cancelled, "given up by the caller");
        if (deadline.passed(system_clock().now())) return fail(Cause::timeout, path + " is busy");
        usleep(static_cast<useconds_t>(std::chrono::microseconds(k_pause).count()));
    }
}

Result<std::unique_ptr<Channel>> connect(const Uri& uri, bool read_only, const Environment& environment,
                                         const Deadline& deadline) {
    switch (uri.how()) {
        case Transport::unix_socket: {
            const auto path = find_socket(uri, read_only, environment);
            if (!path) return tl::unexpected(path.error());
            return connect_unix(*path, deadline);
        }
        case Transport::tcp: {
            auto socket = connect_tcp_socket(uri.effective_host(), uri.effective_port(), deadline);
            if (!socket) return tl::unexpected(socket.error());
            return make_socket_channel(std::move(*socket), false, false);
        }
        case Transport::tls: return connect_through_tls(uri, environment, deadline);
        case Transport::ssh: {
            auto words = ssh_command(uri, read_only, environment.is_root);
            if (!words) return tl::unexpected(words.error());
            return start_command(*words, true);
        }
        case Transport::ext: {
            std::vector<std::string> words{uri.command};
            words.insert(words.end(), uri.argv.begin(), uri.argv.end());
            return start_command(words, false);
        }
        case Transport::libssh:
        case Transport::libssh2: break;
    }
    return fail(Cause::unsupported,
                fmt::format("the transport {} is not built in: use ssh", to_text(uri.how())));
}

}  // namespace virtgate::client
