// SPDX-License-Identifier: LGPL-2.1-or-later
// front - clients that are not let in yet: accept, TLS handshake, doorman's word, the confirmation byte.
#include "netd/gate/front.h"

#include <arpa/inet.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "libshared/base/path_fault.h"
#include "netd/gate/arrival.h"
#include "netd/gate/plain.h"

namespace virtgate::netd::gate {

using loop::Want;
using proto::control::Transport;

namespace {

// So that a flood of connections does not keep the handshakes waiting.
constexpr int k_accepts_per_turn = 16;
// How long to stop accepting when there is no room: room comes from another thread, or from the system.
constexpr Milliseconds k_accept_pause{100};
// So many arrivals at a time are a crowd; of one that has gone, a small part may be left.
constexpr std::size_t k_crowd = 256, k_rest_of_crowd = 8;

struct Address {
    std::string text;
    std::uint16_t port = 0;
};

// As in a URI.
std::string name_of(const Address& address) {
    if (address.text.find(':') == address.text.npos) return fmt::format("{}:{}", address.text, address.port);
    return fmt::format("[{}]:{}", address.text, address.port);
}

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
             Listeners listeners, std::atomic<std::size_t>& live, Sources& sources, Roll& roll,
             loop::Mailbox<Admitted>& admitted)
    : loop_(loop),
      settings_(settings),
      credentials_(credentials),
      signer_(signer),
      listeners_(listeners),
      live_(live),
      sources_(sources),
      roll_(roll),
      admitted_(admitted),
      door_(loop, loop::to<&Front::on_arrived>(*this), loop::to<&Front::on_nonces>(*this)),
      connections_max_(settings.connections),
      arrivals_max_(settings.arrivals) {
    if (listeners_.tls >= 0)
        tls_watch_ = loop_.watch(listeners_.tls, Want::nothing, loop::to<&Front::on_tls>(*this));
    if (listeners_.tcp >= 0)
        tcp_watch_ = loop_.watch(listeners_.tcp, Want::nothing, loop::to<&Front::on_tcp>(*this));
    accept_again_ = loop_.timer(loop::to<&Front::on_accept_again>(*this));
}

Front::~Front() = default;

void Front::watch_listeners(Want want) noexcept {
    if (tls_watch_) tls_watch_->set(want);
    if (tcp_watch_) tcp_watch_->set(want);
}

void Front::accept_from(int listener) noexcept {
    for (int i = 0; i < k_accepts_per_turn; ++i) {
        if (is_full()) {
            if (full_.next())
                log_.warning("{} clients, {} of them not let in yet: no more are accepted until one leaves",
                             live_.load(), arrivals_.size());
            watch_listeners(Want::nothing);
            return accept_again_->start(k_accept_pause);
        }
        sockaddr_storage from{};
        socklen_t size = sizeof from;
        UniqueFd socket{
            accept4(listener, reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC)};
        if (!socket) {
            // Other gates share the listener, and clients may be gone again: both are normal.
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                if (const int number = errno; starved_.next())
                    log_.error("cannot accept clients, {} times so far: {}{}", starved_.count(),
                               std::strerror(number), advice_for(number));
                watch_listeners(Want::nothing);
                accept_again_->start(k_accept_pause);
            }
            return;
        }
        take_in(listener, std::move(socket), from);
    }
}

void Front::take_in(int listener, UniqueFd socket, const sockaddr_storage& from) {
    const Address address = describe(from);
    std::string name = fmt::format("{} port {}", address.text, address.port);
    auto place = sources_.take(Sources::of_address(from));
    const bool is_tls = listener == listeners_.tls;
    if (!place) return crowded(name, is_tls ? Transport::transport_tls : Transport::transport_tcp);
    auto entry = roll_.add({.transport = is_tls ? Transport::transport_tls : Transport::transport_tcp,
                            .source = name_of(address),
                            .local = {}});
    const int on = 1;
    setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const auto kind = is_tls ? Arrival::Kind::tls : Arrival::Kind::tcp;
    add(std::make_unique<Arrival>(*this, kind, std::move(socket), std::move(name), address.text, address.port,
                                  Stay{std::move(*place), std::move(entry)}));
}

// Its connection is closed without a word: there is nothing that a client could understand at this point.
void Front::crowded(std::string_view name, Transport transport) noexcept {
    roll_.note_crowded(transport);
    if (crowded_out_.next())
        log_.warning("refused {}: its source has as many connections as it may ({} refused so far)", name,
                     crowded_out_.count());
}

void Front::add(std::unique_ptr<Arrival> arrival) {
    ++live_;
    Arrival& added = *arrival;
    arrivals_.push_back(std::move(arrival));
    added.place_in_list = std::prev(arrivals_.end());
    crowd_ = std::max(crowd_, arrivals_.size());
}

void Front::on_accept_again() noexcept {
    if (serving_) watch_listeners(Want::read);
}

void Front::serve() noexcept {
    serving_ = true;
    watch_listeners(Want::read);
}

void Front::set_bounds(std::size_t connections, std::size_t arrivals) noexcept {
    connections_max_ = connections;
    arrivals_max_ = arrivals;  // on_accept_again() looks soon enough
}

bool Front::close(std::uint64_t id, std::string_view why) noexcept {
    for (const auto& arrival : arrivals_)
        if (arrival->connection() == id) {
            arrival->close(why);
            return true;
        }
    return false;
}

void Front::drain() noexcept {
    serving_ = false;
    watch_listeners(Want::nothing);
}

// Doorman has accepted a client of a UNIX socket.
void Front::on_arrived(Door::Arrived& arrived) noexcept {
    const bool is_in = arrived.decision.kind == Door::Decision::Kind::granted;
    const std::string name = escape(arrived.name, 128);
    auto place = sources_.take(Sources::of_user(arrived.uid));
    if (!place || is_full()) {
        if (arrived.decision.kind == Door::Decision::Kind::visit) door_.leave(arrived.decision.visit.id);
        return crowded(name, Transport::transport_unix);
    }
    Stay stay{
        std::move(*place),
        roll_.add({.transport = Transport::transport_unix,
                   .source = {},
                   .local = proto::control::Peer{.uid = arrived.uid, .gid = arrived.gid, .pid = arrived.pid},
                   .read_only = arrived.listener == "unix-ro"})};
    if (arrived.decision.kind == Door::Decision::Kind::refused)
        return add(std::make_unique<Arrival>(*this, std::move(arrived.client), name, std::move(stay),
                                             std::move(arrived.decision.why_not)));
    if (!is_in)
        return add(std::make_unique<Arrival>(*this, std::move(arrived.client), name, std::move(stay),
                                             std::move(arrived.decision.visit)));
    stay.place.settle();
    admit(std::make_unique<PlainConnection>(std::move(arrived.client), true),
          std::move(arrived.decision.session), std::move(arrived.decision.grant), name, std::move(stay));
}

void Front::on_nonces() noexcept {
    for (auto at = arrivals_.begin(); at != arrivals_.end();) {
        Arrival& arrival = **at++;  // it may take itself off the list
        arrival.nonces_came();
    }
}

void Front::admit(std::unique_ptr<Connection> connection, UniqueFd session, proto::who::SessionGrant grant,
                  const std::string& name, Stay stay) {
    ++live_;  // for the session; an arrival takes off its own
    stay.entry.enter_session(grant);
    admitted_.put({.connection = std::move(connection),
                   .worker = std::move(session),
                   .session = grant.session,
                   .locks = grant.locks,
                   .identity = std::move(grant.identity),
                   .source = name,
                   .place = std::move(stay.place),
                   .entry = std::move(stay.entry)});
}

void Front::drop(Arrival& arrival) noexcept {
    arrival.leave();
    --live_;
    arrivals_.erase(arrival.place_in_list);
    if (crowd_ < k_crowd || arrivals_.size() > crowd_ / k_rest_of_crowd) return;
    // The allocator keeps what a crowd has left behind, between the pieces of those that are still here, until asked.
    crowd_ = arrivals_.size();
    malloc_trim(0);
}

}  // namespace virtgate::netd::gate
