// SPDX-License-Identifier: LGPL-2.1-or-later
// parent - the gate's side of its control channel to the supervisor.
#include "netd/gate/parent.h"

#include "proto/codec.h"
#include "proto/supervise.h"

namespace virtgate::netd::gate {

namespace supervise = proto::supervise;

namespace {

// How often a draining gate looks whether its last client has gone.
constexpr Milliseconds k_drain_look{200};

}  // namespace

Parent::Parent(loop::Loop& loop, UniqueFd channel, Front& front, Signer& signer, Overseen& overseen,
               const std::atomic<std::size_t>& live)
    : loop_(loop),
      front_(front),
      signer_(signer),
      overseen_(overseen),
      live_(live),
      channel_(loop, std::move(channel), 1, loop::to<&Parent::on_message>(*this),
               loop::to<&Parent::on_closed>(*this)),
      drained_(loop.timer(loop::to<&Parent::on_drained>(*this))) {}

void Parent::on_message(rpc::Control::Message& message) noexcept {
    if (message.header.program != supervise::k_program || message.header.version != supervise::k_version ||
        message.header.type != rpc::Type::message)
        return log_.error("a message that is not the supervisor's");
    switch (static_cast<supervise::Procedure>(message.header.procedure)) {
        case supervise::Procedure::adopt: return serve_adopt(message);
        case supervise::Procedure::serve: return front_.serve();
        case supervise::Procedure::drain: return serve_drain();
        case supervise::Procedure::tune: return serve_tune(message);
        case supervise::Procedure::dismiss: return serve_dismiss(message);
        case supervise::Procedure::ready: break;
    }
    log_.error("an unknown message {} of the supervisor", message.header.procedure);
}

void Parent::serve_adopt(rpc::Control::Message& message) {
    const auto arguments = proto::decode<supervise::AdoptArgs>(message.payload);
    if (!arguments || message.fds.count() != 1) return log_.error("a malformed ADOPT of the supervisor");
    switch (arguments->role) {
        case supervise::PeerRole::peer_keeper:
            if (const auto done = signer_.adopt(message.fds.take(0)); !done)
                return log_.error("{}", done.error().text);
            has_keeper_ = true;
            front_.keeper_came();
            return report_ready();
        case supervise::PeerRole::peer_doorman:
            front_.adopt_doorman(message.fds.take(0));
            has_doorman_ = true;
            return report_ready();
        case supervise::PeerRole::peer_steward: return overseen_.adopt(message.fds.take(0));
        default: break;
    }
    log_.error("ADOPT of a peer that a gate does not have");
}

void Parent::report_ready() {
    if (reported_ || !has_keeper_ || !has_doorman_) return;
    reported_ = true;
    const auto ready =
        rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::ready);
    if (const auto sent = channel_.send(ready, {}); !sent) log_.error("{}", sent.error().text);
}

void Parent::serve_tune(const rpc::Control::Message& message) {
    const auto arguments = proto::decode<supervise::TuneArgs>(message.payload);
    if (!arguments) return log_.error("a malformed TUNE of the supervisor");
    set_log_level(static_cast<Level>(arguments->log_level));
    front_.set_bounds(arguments->connections, arguments->arrivals);
}

void Parent::serve_dismiss(const rpc::Control::Message& message) {
    const auto arguments = proto::decode<supervise::DismissArgs>(message.payload);
    if (!arguments) return log_.error("a malformed DISMISS of the supervisor");
    overseen_.dismiss(arguments->reason);
}

void Parent::serve_drain() {
    log_.info("draining: no new clients, {} are still here", live_.load());
    front_.drain();
    drained_->start(Milliseconds{0});
}

void Parent::on_drained() noexcept {
    if (live_ == 0) {
        overseen_.say_last();
        return loop_.stop();
    }
    drained_->start(k_drain_look);
}

void Parent::on_closed(std::string_view why) noexcept {
    log_.error("the supervisor is gone ({}): ending", why);
    loop_.stop();
}

}  // namespace virtgate::netd::gate
