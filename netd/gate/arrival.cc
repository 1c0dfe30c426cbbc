// SPDX-License-Identifier: LGPL-2.1-or-later
// arrival - one client between accept() and its session.
#include "netd/gate/arrival.h"

namespace virtgate::netd::gate {

using loop::Want;

namespace {

// libvirt's clients wait for this byte, inside TLS and outside of any frame, before they send anything.
constexpr std::byte k_confirmation{1};

}  // namespace

Front::Arrival::Arrival(Front& front, UniqueFd socket, std::string address, std::uint16_t port)
    : front_(front),
      socket_(std::move(socket)),
      address_(std::move(address)),
      port_(port),
      since_(front.loop_.clock().now()) {
    watch_ = front_.loop_.watch(socket_.get(), Want::read, loop::to<&Arrival::on_ready>(*this));
    deadline_ = front_.loop_.timer(loop::to<&Arrival::on_deadline>(*this));
    deadline_->start(front_.settings_.handshake);
}

void Front::Arrival::on_ready(Want) noexcept {
    if (state_ == State::silent)
        start_tls();
    else if (state_ == State::handshake)
        go_on();
    else if (state_ == State::asking)
        refuse("it went away, or spoke before it was let in");
    if (state_ == State::over) front_.drop(*this);
}

void Front::Arrival::nonces_came() noexcept {
    if (state_ != State::nonceless) return;
    start_tls();
    if (state_ == State::over) front_.drop(*this);
}

void Front::Arrival::start_tls() {
    TlsConnection::Random nonce;
    if (!front_.signer_.ready() || !front_.door_.take_nonce(nonce)) {
        state_ = State::nonceless;
        watch_->set(Want::nothing);
        return;
    }
    auto tls = TlsConnection::make(front_.credentials_, std::move(socket_), nonce);
    if (!tls) {
        front_.log_.error("{}", tls.error().text);
        state_ = State::over;
        return;
    }
    tls_ = std::move(*tls);
    state_ = State::handshake;
    watch_->set(Want::read);
    go_on();
}

void Front::Arrival::go_on() {
    switch (tls_->handshake()) {
        case TlsStep::done: return ask();
        case TlsStep::want_read: return watch_->set(Want::read);
        case TlsStep::want_write: return watch_->set(Want::write);
        case TlsStep::closed: return refuse("it left during the handshake");
        case TlsStep::failed: return refuse(tls_->why());
    }
}

void Front::Arrival::ask() {
    Transcript& transcript = tls_->transcript();
    if (transcript.certificate_verify().empty()) return refuse("it presented no certificate");
    const ByteView proof = transcript.client_part();
    const ByteView verify = transcript.certificate_verify();
    ticket_ = front_.door_.ask_admit({.transcript = {proof.begin(), proof.end()},
                                      .certificate_verify = {verify.begin(), verify.end()},
                                      .source = address_,
                                      .source_port = port_,
                                      .listener = "tls"});
    transcript.clear();
    if (ticket_ == 0) {
        front_.log_.error("doorman cannot be asked; {} port {} is refused", address_, port_);
        state_ = State::over;
        return;
    }
    // A client has nothing to say before it is let in; that it goes away must be seen.
    state_ = State::asking;
    watch_->set(Want::read);
    const auto left = std::chrono::ceil<Milliseconds>(since_ + front_.settings_.authentication -
                                                      front_.loop_.clock().now());
    deadline_->start(left);
}

bool Front::Arrival::decided(Door::Decision& decision) noexcept {
    if (state_ != State::asking || decision.ticket != ticket_) return false;
    ticket_ = 0;
    if (decision.grant == nullptr) {
        refuse(decision.why_not);
    } else if (tls_->send(ByteView(&k_confirmation, 1)) == TlsStep::failed) {
        refuse(tls_->why());
    } else {
        watch_.reset();
        deadline_.reset();
        ++front_.live_;  // for the session; drop() takes off the one for this arrival
        front_.admitted_.put({.connection = std::move(tls_),
                              .worker = std::move(decision.session),
                              .session = decision.grant->session,
                              .identity = std::move(decision.grant->identity),
                              .source = fmt::format("{} port {}", address_, port_),
                              .ceiling = std::move(decision.grant->may)});
        state_ = State::over;
    }
    front_.drop(*this);
    return true;
}

void Front::Arrival::leave() noexcept {
    if (ticket_ != 0) front_.door_.forget(ticket_);
}

void Front::Arrival::on_deadline() noexcept {
    switch (state_) {
        case State::silent: refuse("it sent nothing in time"); break;
        case State::nonceless: refuse("there was no keeper or no nonce of doorman in time"); break;
        case State::handshake: refuse("its handshake was not complete in time"); break;
        case State::asking: refuse("it was not let in in time"); break;
        case State::over: break;
    }
    front_.drop(*this);
}

void Front::Arrival::refuse(std::string_view why) noexcept {
    front_.log_.info("refused {} port {}: {}", address_, port_, escape(why));
    state_ = State::over;
}

}  // namespace virtgate::netd::gate
