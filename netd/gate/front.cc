// SPDX-License-Identifier: LGPL-2.1-or-later
// front - clients that are not let in yet: accept, TLS handshake, doorman's word, the confirmation byte.
#include "netd/gate/front.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

#include "netd/gate/arrival.h"

namespace virtgate::netd::gate {

using loop::Want;

namespace {

// So that a flood of connections does not keep the handshakes waiting.
constexpr int k_accepts_per_turn = 16;
// How long to stop accepting when there is no room: room comes from another thread, or from the system.
constexpr Milliseconds k_accept_pause{100};

struct Address {
    std::string text;
    std::uint16_t port = 0;
};

// Numeric; an IPv4 client of a dual-stack listener is shown as IPv4.
Address describe(const sockaddr_storage& from) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (from.ss_family == AF_INET) {
        sockaddr_in v4;
        std::memcpy(&v4, &from, sizeof v4);
        inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
        return {text.data(), ntohs(v4.sin_port)};
    }
    if (from.ss_family == AF_INET6) {
        sockaddr_in6 v6;
        std::memcpy(&v6, &from, sizeof v6);
        if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
            inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text.data(), text.size());
        else
            inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
        return {text.data(), ntohs(v6.sin6_port)};
    }
    return {"unknown", 0};
}

}  // namespace

Front::Front(loop::Loop& loop, const Settings& settings, const Credentials& credentials, Signer& signer,
             int listener, std::atomic<std::size_t>& live, loop::Mailbox<Admitted>& admitted)
    : loop_(loop),
      settings_(settings),
      credentials_(credentials),
      signer_(signer),
      listener_(listener),
      live_(live),
      admitted_(admitted),
      door_(loop, loop::to<&Front::on_decision>(*this), loop::to<&Front::on_nonces>(*this)) {
    listener_watch_ = loop_.watch(listener_, Want::read, loop::to<&Front::on_listener>(*this));
    accept_again_ = loop_.timer(loop::to<&Front::on_accept_again>(*this));
}

Front::~Front() = default;

void Front::on_listener(Want) noexcept {
    for (int i = 0; i < k_accepts_per_turn; ++i) {
        if (live_ >= settings_.connections) {
            log_.warning("{} clients: no more are accepted until one leaves", live_.load());
            return pause_accepting();
        }
        sockaddr_storage from{};
        socklen_t size = sizeof from;
        UniqueFd socket{
            accept4(listener_, reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC)};
        if (!socket) {
            // Other gates share the listener, and clients may be gone again: both are normal.
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                log_.error("cannot accept: no descriptor or memory left");
                pause_accepting();
            }
            return;
        }
        const int on = 1;
        setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        const Address address = describe(from);
        ++live_;
        auto arrival = std::make_unique<Arrival>(*this, std::move(socket), address.text, address.port);
        Arrival& added = *arrival;
        arrivals_.push_back(std::move(arrival));
        added.place = std::prev(arrivals_.end());
    }
}

void Front::pause_accepting() noexcept {
    listener_watch_->set(Want::nothing);
    accept_again_->start(k_accept_pause);
}

void Front::on_accept_again() noexcept {
    if (!draining_) listener_watch_->set(Want::read);
}

void Front::drain() noexcept {
    draining_ = true;
    listener_watch_->set(Want::nothing);
}

void Front::on_decision(Door::Decision& decision) noexcept {
    for (const auto& arrival : arrivals_)
        if (arrival->decided(decision)) return;
}

void Front::on_nonces() noexcept {
    for (auto at = arrivals_.begin(); at != arrivals_.end();) {
        Arrival& arrival = **at++;  // it may take itself off the list
        arrival.nonces_came();
    }
}

void Front::drop(Arrival& arrival) noexcept {
    arrival.leave();
    --live_;
    arrivals_.erase(arrival.place);
}

}  // namespace virtgate::netd::gate
