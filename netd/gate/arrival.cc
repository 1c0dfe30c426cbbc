// SPDX-License-Identifier: LGPL-2.1-or-later
// arrival - one client between accept() and its session.
#include "netd/gate/arrival.h"

#include "netd/gate/plain.h"

namespace virtgate::netd::gate {

using loop::Want;
using proto::config::LoginMode;

namespace {

// libvirt's clients wait for this byte, inside TLS and outside of any frame, before they send anything.
constexpr std::byte k_confirmation{1};

}  // namespace

Front::Arrival::Arrival(Front& front, Kind kind, UniqueFd socket, std::string name, std::string address,
                        std::uint16_t port, Stay stay)
    : front_(front),
      kind_(kind),
      socket_(std::move(socket)),
      name_(std::move(name)),
      address_(std::move(address)),
      port_(port),
      stay_(std::move(stay)),
      since_(front.loop_.clock().now()) {
    watch_ = front_.loop_.watch(socket_.get(), Want::read, loop::to<&Arrival::on_ready>(*this));
    deadline_ = front_.loop_.timer(loop::to<&Arrival::on_deadline>(*this));
    deadline_->start(front_.settings_.handshake);
}

Front::Arrival::Arrival(Front& front, UniqueFd socket, std::string name, Stay stay, proto::door::Visit visit)
    : Arrival(front, Kind::local, std::move(socket), std::move(name), {}, 0, std::move(stay)) {
    connection_ = std::make_unique<PlainConnection>(std::move(socket_), true);
    begin_login(std::move(visit));
}

Front::Arrival::Arrival(Front& front, UniqueFd socket, std::string name, Stay stay, std::string refusal)
    : Arrival(front, Kind::local, std::move(socket), std::move(name), {}, 0, std::move(stay)) {
    connection_ = std::make_unique<PlainConnection>(std::move(socket_), true);
    begin_login(std::move(refusal));
}

// Every callback ends here: whoever is over is dropped, and nothing of it is touched afterwards.
void Front::Arrival::settle() noexcept {
    if (state_ == State::over) front_.drop(*this);
}

void Front::Arrival::on_ready(Want) noexcept {
    switch (state_) {
        case State::silent: start(); break;
        case State::handshake: go_on(); break;
        case State::asking: refuse("it went away, or spoke before it was let in", Roll::Refusal::left); break;
        case State::login:
            login_->go_on();
            look_at_login();
            break;
        case State::nonceless:
        case State::over: break;
    }
    settle();
}

void Front::Arrival::nonces_came() noexcept {
    if (state_ != State::nonceless) return;
    start();
    settle();
}

void Front::Arrival::start() {
    if (kind_ == Kind::tls) return start_tls();
    connection_ = std::make_unique<PlainConnection>(std::move(socket_), false);
    ask_enter();
}

void Front::Arrival::start_tls() {
    TlsConnection::Random nonce;
    if (!front_.signer_.ready() || !front_.door_.take_nonce(nonce)) {
        state_ = State::nonceless;
        watch_->set(Want::nothing);
        return;
    }
    const bool wants_certificate = front_.settings_.tls != LoginMode::login_sasl;
    auto tls = TlsConnection::make(
        front_.credentials_, std::move(socket_), nonce,
        wants_certificate ? TlsConnection::Ask::certificate : TlsConnection::Ask::nothing);
    if (!tls) {
        front_.log_.error("{}", tls.error().text);
        stay_.entry.note_refused(Roll::Refusal::system);
        state_ = State::over;
        return;
    }
    tls_ = tls->get();
    connection_ = std::move(*tls);
    state_ = State::handshake;
    watch_->set(Want::read);
    go_on();
}

void Front::Arrival::go_on() {
    switch (tls_->handshake()) {
        case Step::done: stay_.entry.note_handshake(true); break;
        case Step::want_read: return watch_->set(Want::read);
        case Step::want_write: return watch_->set(Want::write);
        case Step::closed: return refuse("it left during the handshake", Roll::Refusal::left);
        case Step::failed:
            stay_.entry.note_handshake(false);
            return refuse(tls_->why(), Roll::Refusal::handshake);
    }
    if (!tls_->transcript().certificate_verify().empty()) return ask_admit();
    const LoginMode mode = front_.settings_.tls;
    if (mode == LoginMode::login_sasl || mode == LoginMode::login_either) return ask_enter();
    refuse("it presented no certificate", Roll::Refusal::denied);
}

void Front::Arrival::ask_admit() {
    Transcript& transcript = tls_->transcript();
    const ByteView proof = transcript.client_part();
    const ByteView verify = transcript.certificate_verify();
    ticket_ = front_.door_.ask_admit({.transcript = {proof.begin(), proof.end()},
                                      .certificate_verify = {verify.begin(), verify.end()},
                                      .source = address_,
                                      .source_port = port_},
                                     loop::to<&Arrival::on_decision>(*this));
    transcript.clear();
    wait_for_doorman();
}

void Front::Arrival::ask_enter() {
    if (tls_ != nullptr) tls_->transcript().clear();
    ticket_ = front_.door_.ask_enter({.source = address_,
                                      .source_port = port_,
                                      .strength = tls_ != nullptr ? tls_->strength() : 0,
                                      .listener = tls_ != nullptr ? "tls" : "tcp"},
                                     loop::to<&Arrival::on_decision>(*this));
    wait_for_doorman();
}

void Front::Arrival::wait_for_doorman() {
    if (ticket_ == 0) {
        front_.log_.error("doorman cannot be asked; {} is refused", name_);
        stay_.entry.note_refused(Roll::Refusal::system);
        state_ = State::over;
        return;
    }
    state_ = State::asking;
    // A TLS client has nothing to say before it is let in; that it goes away must be seen. A plain one has
    // spoken already, and its bytes wait in the socket.
    watch_->set(tls_ != nullptr ? Want::read : Want::nothing);
    restart_deadline(front_.settings_.authentication);
}

void Front::Arrival::restart_deadline(Milliseconds since_accept) noexcept {
    const auto left = std::chrono::ceil<Milliseconds>(since_ + since_accept - front_.loop_.clock().now());
    deadline_->start(std::max(left, Milliseconds{0}));
}

void Front::Arrival::on_decision(Door::Decision& decision) noexcept {
    ticket_ = 0;
    const bool is_in = decision.kind == Door::Decision::Kind::granted;
    if (!is_in && decision.kind != Door::Decision::Kind::visit) {
        refuse(decision.why_not, Roll::Refusal::denied);
    } else if (tls_ != nullptr && tls_->send(ByteView(&k_confirmation, 1)) == Step::failed) {
        if (!is_in) front_.door_.leave(decision.visit.id);
        refuse(tls_->why(), Roll::Refusal::left);
    } else if (is_in) {
        admit(std::move(decision.grant), std::move(decision.session));
    } else {
        begin_login(std::move(decision.visit));
    }
    settle();
}

template <class What>
void Front::Arrival::begin_login(What what) {
    state_ = State::login;
    stay_.entry.enter_login();
    login_ = std::make_unique<Login>(*connection_, front_.door_, std::move(what), front_.login_memory_,
                                     loop::to<&Arrival::on_login_changed>(*this));
    restart_deadline(front_.settings_.login);
    look_at_login();
}

void Front::Arrival::on_login_changed() noexcept {
    look_at_login();
    settle();
}

void Front::Arrival::look_at_login() {
    switch (login_->state()) {
        case Login::State::reading:
        case Login::State::asking:
        case Login::State::leaving:
            watch_->set(login_->want());
            if (login_->has_input()) watch_->wake(Want::read);
            return;
        case Login::State::over: return refuse(login_->why(), Roll::Refusal::denied);
        case Login::State::admitted: break;
    }
    Login::Admission admission = login_->take();
    login_.reset();
    watch_.reset();
    if (admission.layer) {
        // The process that negotiated the layer reads and writes the network from here on.
        const UniqueFd network = connection_->release_socket();
        constexpr std::byte k_here_it_is{0};
        const int descriptor = network.get();
        if (channel::send_packet(admission.layer.get(), ByteView(&k_here_it_is, 1),
                                 std::span(&descriptor, 1)) != channel::Outcome::done)
            return refuse("the process with its security layer has gone", Roll::Refusal::system);
        connection_ = std::make_unique<PlainConnection>(std::move(admission.layer), false);
    }
    admit(std::move(admission.grant), std::move(admission.session));
}

void Front::Arrival::admit(proto::who::SessionGrant grant, UniqueFd session) {
    watch_.reset();
    deadline_.reset();
    stay_.place.settle();
    front_.admit(std::move(connection_), std::move(session), std::move(grant), name_, std::move(stay_));
    state_ = State::over;
}

void Front::Arrival::close(std::string_view why) noexcept {
    refuse(why, Roll::Refusal::closed);
    settle();
}

void Front::Arrival::leave() noexcept {
    if (ticket_ != 0) front_.door_.forget(ticket_);
}

void Front::Arrival::on_deadline() noexcept {
    switch (state_) {
        case State::silent: be_late("it sent nothing in time", Roll::Late::handshake); break;
        case State::nonceless:
            refuse("there was no keeper or no nonce of doorman in time", Roll::Refusal::system);
            break;
        case State::handshake:
            be_late("its handshake was not complete in time", Roll::Late::handshake);
            break;
        case State::asking: be_late("it was not let in in time", Roll::Late::authentication); break;
        case State::login: be_late("it did not log in in time", Roll::Late::login); break;
        case State::over: break;
    }
    settle();
}

void Front::Arrival::be_late(std::string_view why, Roll::Late what) noexcept {
    stay_.entry.note_late(what);
    refuse(why, Roll::Refusal::deadline);
}

void Front::Arrival::refuse(std::string_view why, Roll::Refusal kind) noexcept {
    stay_.entry.note_refused(kind);
    front_.log_.info("refused {}: {}", name_, escape(why));
    state_ = State::over;
}

}  // namespace virtgate::netd::gate
