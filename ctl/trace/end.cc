// SPDX-License-Identifier: LGPL-2.1-or-later
// end - one end of a connection that is relayed: a socket of this machine, or whatever a URI leads to.
#include "ctl/trace/end.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace virtgate::ctl::trace {

namespace {

constexpr std::size_t k_fds_max = 64;

class SocketEnd final : public End {
public:
    explicit SocketEnd(UniqueFd socket) : socket_(std::move(socket)) {}
    [[nodiscard]] int fd() const noexcept override { return socket_.get(); }

    Step read(std::span<std::byte> room, std::size_t& size, std::vector<UniqueFd>& fds) noexcept override {
        iovec piece{room.data(), room.size()};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(k_fds_max * sizeof(int))> control{};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t got = recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Step::blocked;
        if (got <= 0) return Step::ended;
        for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
            if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS) continue;
            std::array<int, k_fds_max> numbers{};
            const std::size_t bytes = one->cmsg_len - CMSG_LEN(0);
            std::memcpy(numbers.data(), CMSG_DATA(one), bytes);
            for (std::size_t i = 0; i < bytes / sizeof(int); ++i) fds.emplace_back(numbers.at(i));
        }
        size = static_cast<std::size_t>(got);
        return Step::moved;
    }

    // Descriptors come with the last byte of what one recvmsg(2) returns, and have to leave with that byte alone:
    // whoever reads a frame does not expect any in it.
    Step write(ByteView bytes, std::size_t& sent, std::span<const UniqueFd> fds) noexcept override {
        const bool with_fds = !fds.empty() && bytes.size() == 1;
        const std::size_t now = fds.empty() || with_fds ? bytes.size() : bytes.size() - 1;
        const ssize_t put = send(bytes.first(now), with_fds ? fds : std::span<const UniqueFd>{});
        if (put < 0 && (errno == EAGAIN || errno == EINTR)) return Step::blocked;
        if (put < 0) return Step::ended;
        sent = static_cast<std::size_t>(put);
        return Step::moved;
    }

private:
    ssize_t send(ByteView bytes, std::span<const UniqueFd> fds) noexcept {
        iovec piece{const_cast<std::byte*>(bytes.data()), bytes.size()};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(k_fds_max * sizeof(int))> control{};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        const std::size_t count = std::min(fds.size(), k_fds_max);
        if (count > 0) {
            message.msg_control = control.data();
            message.msg_controllen = CMSG_SPACE(count * sizeof(int));
            cmsghdr* header = CMSG_FIRSTHDR(&message);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(count * sizeof(int));
            std::array<int, k_fds_max> numbers{};
            std::transform(fds.begin(), fds.begin() + static_cast<std::ptrdiff_t>(count), numbers.begin(),
                           [](const UniqueFd& fd) { return fd.get(); });
            std::memcpy(CMSG_DATA(header), numbers.data(), count * sizeof(int));
        }
        return sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    }

    UniqueFd socket_;
};

class ChannelEnd final : public End {
public:
    explicit ChannelEnd(std::unique_ptr<client::Channel> channel) : channel_(std::move(channel)) {}
    [[nodiscard]] int fd() const noexcept override { return channel_->fd(); }

    Step read(std::span<std::byte> room, std::size_t& size, std::vector<UniqueFd>& fds) noexcept override {
        return take(channel_->read(room, fds), size);
    }
    Step write(ByteView bytes, std::size_t& sent, std::span<const UniqueFd>) noexcept override {
        return take(channel_->write(bytes), sent);
    }
    [[nodiscard]] bool has_buffered() const noexcept override { return channel_->has_buffered(); }
    [[nodiscard]] std::string epitaph() override { return why_.empty() ? channel_->epitaph() : why_; }

private:
    Step take(const client::Result<client::Progress>& progress, std::size_t& size) noexcept {
        if (!progress) {
            why_ = progress.error().text;
            return Step::ended;
        }
        size = progress->size;
        switch (progress->kind) {
            case client::Progress::Kind::moved: return Step::moved;
            case client::Progress::Kind::blocked: return Step::blocked;
            case client::Progress::Kind::ended: break;
        }
        return Step::ended;
    }

    std::unique_ptr<client::Channel> channel_;
    std::string why_;
};

}  // namespace

void End::finish_writing() noexcept { shutdown(fd(), SHUT_WR); }
void End::finish_reading() noexcept { shutdown(fd(), SHUT_RD); }

std::unique_ptr<End> make_socket_end(UniqueFd socket) {
    return std::make_unique<SocketEnd>(std::move(socket));
}

std::unique_ptr<End> make_channel_end(std::unique_ptr<client::Channel> channel) {
    return std::make_unique<ChannelEnd>(std::move(channel));
}

}  // namespace virtgate::ctl::trace
