// SPDX-License-Identifier: LGPL-2.1-or-later
// witness - tells the auditor what was decided about calls of sessions, how they ended, and which locks were broken.
#include "lockd/locker/witness.h"

#include <utility>

#include "libshared/base/log.h"
#include "libshared/rpc/header.h"
#include "proto/codec.h"

namespace virtgate::lockd::locker {

void Witness::set(server::Client& client, std::uint64_t broker) noexcept {
    end();
    client_ = &client;
    broker_ = broker;
    dropped_ = 0;
    Log{}.info("the auditor hears of sessions");
}

void Witness::on_closed(const server::Client& client) noexcept {
    if (&client != client_) return;
    client_ = nullptr;
    Log{}.info("the auditor does not hear of sessions any more; decisions go to the log");
}

void Witness::end() noexcept {
    if (server::Client* const client = std::exchange(client_, nullptr); client != nullptr) {
        client->close("another one takes its place");
    }
}

template <class Args>
bool Witness::send(proto::audit::Procedure procedure, const Args& args) noexcept {
    const auto payload = proto::encode(args);
    if (client_ == nullptr || !payload || client_->unsent() > k_unsent_max) {
        ++dropped_;
        return false;
    }
    client_->send(rpc::make_frame(
        rpc::make_message(proto::audit::k_program, proto::audit::k_version, procedure), *payload));
    return true;
}

void Witness::tell(proto::audit::DecisionArgs decision) noexcept {
    decision.dropped = dropped_;
    static_cast<void>(send(proto::audit::Procedure::decision, decision));
}

void Witness::tell(const proto::audit::OutcomeArgs& outcome) noexcept {
    static_cast<void>(send(proto::audit::Procedure::outcome, outcome));
}

void Witness::tell(const proto::audit::BrokenArgs& broken) noexcept {
    static_cast<void>(send(proto::audit::Procedure::broken, broken));
}

std::string Witness::fit(std::string_view text) {
    constexpr std::size_t k_max = proto::audit::k_detail_max;
    if (text.size() <= k_max && is_plain_text(text)) return std::string(text);
    return escape(text, k_max - 3);
}

}  // namespace virtgate::lockd::locker
