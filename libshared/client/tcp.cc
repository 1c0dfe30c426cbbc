// SPDX-License-Identifier: LGPL-2.1-or-later
// tcp - reaching a host by its name: addresses, and the first of them that answers.
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>

#include "libshared/base/handle.h"
#include "libshared/client/transport.h"

namespace virtgate::client {

namespace {

using Addresses = std::unique_ptr<addrinfo, FreeWith<freeaddrinfo>>;

// Before another address is tried beside one that has not answered. Source: RFC 8305 section 8.
constexpr Milliseconds k_head_start{250};
// As many as are tried at the same time: a name with hundreds of addresses is not the client's friend.
constexpr std::size_t k_attempts_max = 16;

// Shared by the caller and a thread that may outlive its wait: the C library's resolver cannot be
// interrupted.
struct Lookup {
    std::string host, port;
    UniqueFd answered{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    int status = EAI_SYSTEM;
    Addresses addresses;
};

int ask(const Lookup& question, int flags, Addresses& addresses) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV | flags;
    addrinfo* found = nullptr;
    const int status = getaddrinfo(question.host.c_str(), question.port.c_str(), &hints, &found);
    addresses.reset(status == 0 ? found : nullptr);
    return status;
}

tl::unexpected<Failure> unknown_host(const std::string& host, int status) {
    return fail(Cause::unreachable, fmt::format("cannot find {}: {}", escape(host), gai_strerror(status)));
}

Result<Addresses> resolve(const std::string& host, std::uint16_t port, const Waiter& waiter,
                          const Deadline& deadline) {
    auto question = std::make_shared<Lookup>();
    question->host = host;
    question->port = fmt::format("{}", port);
    if (!question->answered) return fail_system(errno, "cannot make an event descriptor");
    // A number needs no server to be asked.
    Addresses addresses;
    if (ask(*question, AI_NUMERICHOST, addresses) == 0) return addresses;
    try {
        std::thread([question] {
            question->status = ask(*question, AI_ADDRCONFIG, question->addresses);
            const std::uint64_t one = 1;
            static_cast<void>(!write(question->answered.get(), &one, sizeof one));
        }).detach();
    } catch (const std::system_error& error) {
        return fail_system(error.code().value(), "cannot start a thread to resolve a name");
    }
    if (auto done = waiter.wait(question->answered.get(), Want::read, deadline); !done) {
        done.error().text = fmt::format("cannot find {}: {}", escape(host), done.error().text);
        return tl::unexpected(done.error());
    }
    // Reading the descriptor orders what the thread wrote before what follows.
    std::uint64_t count = 0;
    static_cast<void>(!read(question->answered.get(), &count, sizeof count));
    if (question->status != 0) return unknown_host(host, question->status);
    return std::move(question->addresses);
}

// One connect(2) for each address, several at a time.
class Race {
public:
    Race(const addrinfo* next, const Waiter& waiter, const Deadline& deadline)
        : next_(next), waiter_(waiter), deadline_(deadline) {}

    Result<UniqueFd> run() {
        start_next();
        while (true) {
            if (winner_) return std::move(winner_);
            if (attempts_.empty() && next_ == nullptr) return fail(Cause::unreachable, why_);
            if (attempts_.empty()) {
                start_next();
                continue;
            }
            if (auto done = wait(); !done) return tl::unexpected(done.error());
        }
    }

private:
    void start_next() {
        if (next_ == nullptr || attempts_.size() >= k_attempts_max) return;
        const addrinfo& to = *next_;
        next_ = next_->ai_next;
        started_ = system_clock().now();
        UniqueFd socket{::socket(to.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        if (!socket) return note(errno);
        if (::connect(socket.get(), to.ai_addr, to.ai_addrlen) == 0)
            winner_ = std::move(socket);
        else if (errno == EINPROGRESS)
            attempts_.push_back(std::move(socket));
        else
            note(errno);
    }

    void note(int number) {
        char buffer[128];
        const std::string reason = strerror_r(number, buffer, sizeof buffer);
        if (why_.find(reason) == std::string::npos) why_ += (why_.empty() ? "" : ", ") + reason;
    }

    // Waits for the first that is ready, until another one is due or the deadline passes.
    Done wait() {
        Deadline until = deadline_;
        const bool more = next_ != nullptr && attempts_.size() < k_attempts_max;
        if (more) until.at = std::min(until.at, started_ + k_head_start);
        UniqueFd all{epoll_of_attempts()};
        if (!all) return fail_system(errno, "cannot wait for several connections");
        const auto done = waiter_.wait(all.get(), Want::read, until);
        if (!done && done.error().cause == Cause::timeout && more &&
            !deadline_.passed(system_clock().now())) {
            start_next();
            return {};
        }
        if (!done) return done;
        collect();
        return {};
    }

    // One descriptor that is readable when any attempt is decided; -1 with errno.
    [[nodiscard]] int epoll_of_attempts() const {
        UniqueFd all{epoll_create1(EPOLL_CLOEXEC)};
        for (const UniqueFd& one : attempts_) {
            epoll_event event{};
            event.events = EPOLLOUT;
            if (all && epoll_ctl(all.get(), EPOLL_CTL_ADD, one.get(), &event) < 0) return -1;
        }
        return all.release();
    }

    void collect() {
        std::vector<pollfd> waited;
        for (const UniqueFd& one : attempts_) waited.push_back({one.get(), POLLOUT, 0});
        poll(waited.data(), waited.size(), 0);
        for (std::size_t i = waited.size(); i-- > 0;) {
            if (waited[i].revents == 0) continue;
            int number = 0;
            socklen_t size = sizeof number;
            getsockopt(attempts_[i].get(), SOL_SOCKET, SO_ERROR, &number, &size);
            if (number == 0)
                winner_ = std::move(attempts_[i]);
            else
                note(number);
            attempts_.erase(attempts_.begin() + static_cast<std::ptrdiff_t>(i));
        }
    }

    const addrinfo* next_;
    const Waiter& waiter_;
    const Deadline& deadline_;
    Instant started_{};
    std::vector<UniqueFd> attempts_;
    UniqueFd winner_;
    std::string why_;
};

}  // namespace

Result<UniqueFd> connect_tcp_socket(const std::string& host, std::uint16_t port, const Deadline& deadline) {
    const auto waiter = Waiter::make();
    if (!waiter) return tl::unexpected(waiter.error());
    const auto addresses = resolve(host, port, *waiter, deadline);
    if (!addresses) return tl::unexpected(addresses.error());
    auto socket = Race(addresses->get(), *waiter, deadline).run();
    if (!socket) {
        socket.error().text =
            fmt::format("cannot connect to {} port {}: {}", escape(host), port, socket.error().text);
        return socket;
    }
    const int on = 1;
    setsockopt(socket->get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(socket->get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    return socket;
}

}  // namespace virtgate::client
