// SPDX-License-Identifier: LGPL-2.1-or-later
// witness - tells the auditor what was decided, and how it ended.
#include "workerd/worker/witness.h"

#include <sys/socket.h>

#include "libshared/channel/packet.h"
#include "libshared/rpc/header.h"
#include "proto/codec.h"

namespace virtgate::workerd::worker {

void Witness::set_channel(UniqueFd channel) noexcept {
    channel_ = std::move(channel);
    before_ = told_;
    static_cast<void>(set_nonblocking(channel_.get(), true));
    // Less is only less room for bursts.
    static_cast<void>(setsockopt(channel_.get(), SOL_SOCKET, SO_SNDBUF, &k_buffer, sizeof k_buffer));
}

template <class Args>
bool Witness::send(proto::audit::Procedure procedure, const Args& args) noexcept {
    const auto payload = proto::encode(args);
    require(payload.has_value(), "a record does not encode");
    const ByteVector frame = rpc::make_frame(
        rpc::make_message(proto::audit::k_program, proto::audit::k_version, procedure, 0), *payload);
    if (!channel_) {
        ++dropped_;
        return false;
    }
    switch (channel::send_packet(channel_.get(), frame)) {
        case channel::Outcome::done: return true;
        case channel::Outcome::blocked: break;
        // The broker brings a new channel when it has started a new auditor.
        case channel::Outcome::closed:
        case channel::Outcome::broken: channel_.reset(); break;
    }
    ++dropped_;
    return false;
}

void Witness::tell(proto::audit::DecisionArgs decision) noexcept {
    const std::uint64_t dropped = dropped_;
    decision.dropped = dropped - before_;
    if (send(proto::audit::Procedure::decision, decision)) told_ = dropped;
}

void Witness::tell(const proto::audit::OutcomeArgs& outcome) noexcept {
    static_cast<void>(send(proto::audit::Procedure::outcome, outcome));
}

}  // namespace virtgate::workerd::worker
