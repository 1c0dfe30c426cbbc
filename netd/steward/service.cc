// SPDX-License-Identifier: LGPL-2.1-or-later
// service - all of the steward: its parent, the gates, the administrators, and the programs that these may call.
#include "netd/steward/service.h"

#include "proto/supervise.h"

namespace virtgate::netd::steward {

namespace supervise = proto::supervise;

namespace {

rpc::Header make_message(supervise::Procedure procedure) noexcept {
    return rpc::make_message(supervise::k_program, supervise::k_version, procedure);
}

}  // namespace

Service::Service(loop::Loop& loop, const proto::config::StewardConfig& config, UniqueFd parent,
                 UniqueFd listener)
    : loop_(loop),
      owner_(config.owner),
      gates_(loop),
      reading_desk_(loop, gates_, supervisor_),
      server_(loop, {.clients = k_clients_max, .client = {}}, *this),
      control_desk_(gates_, *this),
      admin_desk_(gates_, *this, server_, k_clients_max),
      parent_(loop, std::move(parent), 1, loop::to<&Service::on_parent>(*this),
              loop::to<&Service::on_parent_closed>(*this)) {
    server_.add(control_desk_.program());
    server_.add(admin_desk_.program());
    if (listener) server_.listen(std::move(listener), 0);
}

Done Service::report_ready() { return parent_.send(make_message(supervise::Procedure::ready), {}); }

bool Service::admits(const server::Peer& peer, unsigned) noexcept {
    if (peer.uid == 0 || peer.uid == owner_) return true;
    if (strangers_.next())
        log_.warning("process {} of user {} may not administer ({} so far)", peer.pid, peer.uid,
                     strangers_.count());
    return false;
}

void Service::on_closed(server::Client& client, std::string_view reason) noexcept {
    log_.debug("{} has gone: {}", describe(client), reason);
}

void Service::ask(proto::control::Procedure procedure, ByteView payload, Milliseconds patience,
                  Link::Then then) {
    if (!supervisor_) return then(tl::unexpected(no_answer()));
    supervisor_->ask(procedure, payload, patience, std::move(then));
}

void Service::on_parent(rpc::Control::Message& message) noexcept {
    if (message.header == make_message(supervise::Procedure::adopt)) return serve_adopt(message);
    if (message.header == make_message(supervise::Procedure::serve)) return server_.start();
    if (message.header == make_message(supervise::Procedure::tune))
        if (const auto change = proto::decode<supervise::TuneArgs>(message.payload))
            return set_log_level(static_cast<Level>(change->log_level));
    log_.error("the supervisor sent something that a steward does not know");
}

void Service::serve_adopt(rpc::Control::Message& message) {
    const auto adopt = proto::decode<supervise::AdoptArgs>(message.payload);
    if (!adopt || message.fds.count() != 1) return log_.error("a malformed ADOPT of the supervisor");
    if (adopt->role == supervise::PeerRole::peer_gate)
        return gates_.adopt(adopt->index, adopt->serial, message.fds.take(0));
    if (adopt->role == supervise::PeerRole::peer_doorman)
        return gates_.adopt_doorman(adopt->serial, message.fds.take(0));
    if (adopt->role == supervise::PeerRole::peer_exporter) return reading_desk_.adopt(message.fds.take(0));
    if (adopt->role != supervise::PeerRole::peer_supervisor)
        return log_.error("ADOPT of a peer that a steward does not have");
    supervisor_ = std::make_unique<Link>(loop_, message.fds.take(0), "supervisor", metrics::source::netd);
}

void Service::on_parent_closed(std::string_view) noexcept { loop_.stop(); }

}  // namespace virtgate::netd::steward
