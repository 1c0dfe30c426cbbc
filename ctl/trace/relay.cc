// SPDX-License-Identifier: LGPL-2.1-or-later
// relay - a UNIX socket whose clients are connected to another UNIX socket, byte by byte; somebody looks on.
#include "ctl/trace/relay.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace virtgate::ctl::trace {

namespace {

constexpr std::size_t k_fds_max = 64;
constexpr int k_backlog = 16;

// Whether something was moved, or has to wait, or there is nothing more.
enum class Step : unsigned char { moved, blocked, ended };

Result<UniqueFd> connect_to(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return system_fault(ENAMETOOLONG, path);
    std::memcpy(address.sun_path, path.data(), path.size());
    UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!socket || ::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
        return system_fault(errno, fmt::format("cannot connect to {}", path));
    return socket;
}

}  // namespace

class Relay::Connection {
public:
    Connection(Relay& relay, unsigned number, UniqueFd client, UniqueFd server)
        : relay_(relay),
          number_(number),
          client_(std::move(client)),
          server_(std::move(server)),
          up_(*this, From::client, client_.get(), server_.get()),
          down_(*this, From::server, server_.get(), client_.get()) {}

    [[nodiscard]] bool is_over() const noexcept { return up_.is_over() && down_.is_over(); }
    [[nodiscard]] unsigned number() const noexcept { return number_; }

private:
    // One direction.
    class Way {
    public:
        Way(Connection& owner, From from, int source, int target)
            : owner_(owner),
              from_(from),
              source_(source),
              target_(target),
              readable_(owner.relay_.loop_.watch(source, loop::Want::read, loop::to<&Way::on_ready>(*this))),
              writable_(
                  owner.relay_.loop_.watch(target, loop::Want::nothing, loop::to<&Way::on_ready>(*this))) {}

        [[nodiscard]] bool is_over() const noexcept { return over_; }

    private:
        void on_ready(loop::Want) noexcept {
            Step step = write();
            if (step == Step::moved && size_ == 0) step = read();
            if (step == Step::moved) step = write();
            if (step == Step::ended) return end();
            readable_->set(size_ == 0 ? loop::Want::read : loop::Want::nothing);
            writable_->set(size_ == 0 ? loop::Want::nothing : loop::Want::write);
        }

        Step read() noexcept {
            iovec piece{buffer_.data(), buffer_.size()};
            alignas(cmsghdr) std::array<char, CMSG_SPACE(k_fds_max * sizeof(int))> control{};
            msghdr message{};
            message.msg_iov = &piece;
            message.msg_iovlen = 1;
            message.msg_control = control.data();
            message.msg_controllen = control.size();
            const ssize_t size = recvmsg(source_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
            if (size < 0 && (errno == EAGAIN || errno == EINTR)) return Step::blocked;
            if (size <= 0) return Step::ended;
            for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
                if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS) continue;
                std::array<int, k_fds_max> fds{};
                const std::size_t bytes = one->cmsg_len - CMSG_LEN(0);
                std::memcpy(fds.data(), CMSG_DATA(one), bytes);
                for (std::size_t i = 0; i < bytes / sizeof(int); ++i) fds_.emplace_back(fds.at(i));
            }
            size_ = static_cast<std::size_t>(size);
            sent_ = 0;
            owner_.relay_.owner_.on_bytes(owner_.number_, from_,
                                          std::as_bytes(std::span(buffer_).first(size_)));
            return Step::moved;
        }

        // Descriptors come with the last byte of what one recvmsg(2) returns, and have to leave with that byte alone:
        // whoever reads a frame does not expect any in it.
        Step write() noexcept {
            while (size_ > 0) {
                const std::size_t left = size_ - sent_;
                const std::size_t now = fds_.empty() || left == 1 ? left : left - 1;
                const ssize_t size = send(now, now == left);
                if (size < 0 && (errno == EAGAIN || errno == EINTR)) return Step::blocked;
                if (size < 0) return Step::ended;
                sent_ += static_cast<std::size_t>(size);
                if (sent_ < size_) continue;
                size_ = 0;
                fds_.clear();
            }
            return Step::moved;
        }

        ssize_t send(std::size_t size, bool with_fds) noexcept {
            iovec piece{buffer_.data() + sent_, size};
            alignas(cmsghdr) std::array<char, CMSG_SPACE(k_fds_max * sizeof(int))> control{};
            msghdr message{};
            message.msg_iov = &piece;
            message.msg_iovlen = 1;
            const std::size_t count = with_fds ? std::min(fds_.size(), k_fds_max) : 0;
            if (count > 0) {
                message.msg_control = control.data();
                message.msg_controllen = CMSG_SPACE(count * sizeof(int));
                cmsghdr* header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = CMSG_LEN(count * sizeof(int));
                std::array<int, k_fds_max> numbers{};
                std::transform(fds_.begin(), fds_.begin() + static_cast<std::ptrdiff_t>(count),
                               numbers.begin(), [](const UniqueFd& fd) { return fd.get(); });
                std::memcpy(CMSG_DATA(header), numbers.data(), count * sizeof(int));
            }
            return sendmsg(target_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        }

        void end() noexcept {
            over_ = true;
            readable_->set(loop::Want::nothing);
            writable_->set(loop::Want::nothing);
            shutdown(target_, SHUT_WR);
            shutdown(source_, SHUT_RD);
            owner_.relay_.sweep_->start(Milliseconds{0});
        }

        Connection& owner_;
        From from_;
        int source_, target_;
        std::array<char, k_piece> buffer_{};
        std::size_t size_ = 0, sent_ = 0;
        std::vector<UniqueFd> fds_;
        bool over_ = false;
        std::unique_ptr<loop::Watch> readable_, writable_;
    };

    Relay& relay_;
    unsigned number_;
    UniqueFd client_, server_;
    Way up_, down_;
};

Relay::Relay(loop::Loop& loop, RelayOwner& owner, std::string upstream)
    : loop_(loop),
      owner_(owner),
      upstream_(std::move(upstream)),
      sweep_(loop.timer(loop::to<&Relay::on_sweep>(*this))) {}

Relay::~Relay() = default;

Done Relay::listen(const std::string& path) {
    auto listener = channel::LocalListener::open(
        path, {.type = SOCK_STREAM, .mode = 0600, .backlog = k_backlog, .group = {}});
    if (!listener) return tl::unexpected(std::move(listener.error()));
    listener_ = std::move(*listener);
    watch_ = loop_.watch(listener_.get(), loop::Want::read, loop::to<&Relay::on_client>(*this));
    return {};
}

void Relay::on_client(loop::Want) noexcept {
    UniqueFd client{accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    if (!client) return;
    const unsigned number = ++count_;
    owner_.on_connected(number);
    auto server = connect_to(upstream_);
    if (!server) return owner_.on_refused(number, server.error());
    connections_.push_back(
        std::make_unique<Connection>(*this, number, std::move(client), std::move(*server)));
}

void Relay::on_sweep() noexcept {
    connections_.remove_if([&](const auto& one) {
        if (one->is_over()) owner_.on_closed(one->number());
        return one->is_over();
    });
}

}  // namespace virtgate::ctl::trace
