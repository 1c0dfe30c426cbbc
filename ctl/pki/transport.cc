// SPDX-License-Identifier: LGPL-2.1-or-later
// transport - a TCP connection with a deadline, below a GnuTLS session, that remembers how the peer began.
#include "ctl/pki/transport.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <memory>

#include "libshared/base/handle.h"

namespace virtgate::ctl::pki {

namespace {

using Addresses = std::unique_ptr<addrinfo, FreeWith<freeaddrinfo>>;

int left_until(Deadline deadline) noexcept {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, std::numeric_limits<int>::max()));
}

// 0, or errno.
int connect_one(int socket, const addrinfo& address, Deadline deadline) {
    if (connect(socket, address.ai_addr, address.ai_addrlen) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    pollfd wanted{.fd = socket, .events = POLLOUT, .revents = 0};
    int ready = 0;
    do ready = poll(&wanted, 1, left_until(deadline));
    while (ready < 0 && errno == EINTR);
    if (ready < 0) return errno;
    if (ready == 0) return ETIMEDOUT;
    int outcome = 0;
    socklen_t size = sizeof outcome;
    if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &outcome, &size) < 0) return errno;
    return outcome;
}

}  // namespace

Result<UniqueFd> connect_to(const std::string& host, const std::string& port,
                            std::chrono::milliseconds patience) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    addrinfo* raw = nullptr;
    if (const int outcome = getaddrinfo(host.c_str(), port.c_str(), &hints, &raw); outcome != 0)
        return system_fault(0, gai_strerror(outcome));
    const Addresses addresses{raw};
    int number = ECONNREFUSED;
    for (const addrinfo* address = raw; address != nullptr; address = address->ai_next) {
        UniqueFd made{
            socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, address->ai_protocol)};
        if (!made) {
            number = errno;
            continue;
        }
        number = connect_one(made.get(), *address, std::chrono::steady_clock::now() + patience);
        if (number == 0) return made;
    }
    Error error{.fault = Fault::peer, .number = number, .text = {}};
    return tl::make_unexpected(std::move(error));
}

void Transport::carry(gnutls_session_t session) noexcept {
    session_ = session;
    gnutls_transport_set_ptr(session, this);
    gnutls_transport_set_pull_function(session, [](void* self, void* to, std::size_t size) noexcept {
        return static_cast<Transport*>(self)->pull(to, size);
    });
    gnutls_transport_set_push_function(session, [](void* self, const void* from, std::size_t size) noexcept {
        return static_cast<Transport*>(self)->push(from, size);
    });
    gnutls_transport_set_pull_timeout_function(session, [](void* self, unsigned ms) noexcept {
        return static_cast<Transport*>(self)->wait(POLLIN, ms) ? 1 : 0;
    });
}

bool Transport::wait(short events, unsigned most_ms) noexcept {
    for (;;) {
        const int left = left_until(deadline_);
        const int pause = most_ms < static_cast<unsigned>(left) ? static_cast<int>(most_ms) : left;
        pollfd wanted{.fd = socket_.get(), .events = events, .revents = 0};
        const int ready = poll(&wanted, 1, pause);
        if (ready < 0 && errno == EINTR) continue;
        if (ready == 0 && pause == left) late_ = true;
        return ready > 0;
    }
}

// A session that gets "again" from here knows that there is no more time.
ssize_t Transport::pull(void* to, std::size_t size) noexcept {
    if (!wait(POLLIN, std::numeric_limits<unsigned>::max())) {
        gnutls_transport_set_errno(session_, EAGAIN);
        return -1;
    }
    const ssize_t n = recv(socket_.get(), to, size, 0);
    if (n <= 0) closed_ = n == 0 || errno == ECONNRESET || errno == EPIPE;
    if (n < 0) gnutls_transport_set_errno(session_, errno);
    if (n > 0 && head_.size() < k_head_max)
        head_.append(static_cast<const char*>(to),
                     std::min(static_cast<std::size_t>(n), k_head_max - head_.size()));
    return n;
}

ssize_t Transport::push(const void* from, std::size_t size) noexcept {
    if (!wait(POLLOUT, std::numeric_limits<unsigned>::max())) {
        gnutls_transport_set_errno(session_, EAGAIN);
        return -1;
    }
    const ssize_t n = send(socket_.get(), from, size, MSG_NOSIGNAL);
    if (n < 0) {
        closed_ = errno == ECONNRESET || errno == EPIPE;
        gnutls_transport_set_errno(session_, errno);
    }
    return n;
}

}  // namespace virtgate::ctl::pki
