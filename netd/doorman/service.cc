// SPDX-License-Identifier: LGPL-2.1-or-later
// service - all of doorman: the supervisor's channel, one desk for each gate, and the way to the broker.
#include "netd/doorman/service.h"

#include "proto/codec.h"
#include "proto/supervise.h"

namespace virtgate::netd::doorman {

namespace supervise = proto::supervise;

namespace {

rpc::Header make_message(supervise::Procedure procedure) noexcept {
    return rpc::make_message(supervise::k_program, supervise::k_version, procedure);
}

}  // namespace

Service::Service(loop::Loop& loop, UniqueFd parent, const Examiner& examiner, std::string broker_socket)
    : loop_(loop),
      examiner_(examiner),
      broker_(loop, std::move(broker_socket)),
      parent_(loop, std::move(parent), 1, loop::to<&Service::on_parent>(*this),
              loop::to<&Service::on_parent_closed>(*this)) {}

Done Service::report_ready() { return parent_.send(make_message(supervise::Procedure::ready), {}); }

void Service::on_parent(rpc::Control::Message& message) noexcept {
    const auto adopt = proto::decode<supervise::AdoptArgs>(message.payload);
    if (message.header != make_message(supervise::Procedure::adopt) || !adopt ||
        adopt->role != supervise::PeerRole::peer_gate || message.fds.count() != 1)
        return log_.error("the supervisor sent something that doorman does not know");
    desks_.erase(adopt->index);
    desks_.try_emplace(adopt->index, loop_, adopt->index, message.fds.take(0), examiner_, broker_);
    log_.debug("serves gate {}", adopt->index);
}

void Service::on_parent_closed(std::string_view) noexcept { loop_.stop(); }

}  // namespace virtgate::netd::doorman
