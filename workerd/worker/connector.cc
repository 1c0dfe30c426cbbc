// SPDX-License-Identifier: LGPL-2.1-or-later
// connector - new connections to libvirt daemons, which a worker cannot make itself.
#include "workerd/worker/connector.h"

#include "proto/codec.h"
#include "proto/work.h"

namespace virtgate::workerd::worker {

namespace {

rpc::Header call_of(std::uint32_t serial) noexcept {
    return rpc::make_call(proto::work::k_program, proto::work::k_version, proto::work::Procedure::connect,
                          serial);
}

}  // namespace

Connector::Ticket BrokerConnector::ask_connect(const std::string& socket, std::uint64_t session,
                                               OnConnected on_connected) {
    const auto payload = proto::encode(proto::work::ConnectArgs{.socket = socket, .session = session});
    require(payload.has_value(), "the path of a socket that is longer than any");
    const Ticket ticket = control_.next_serial();
    questions_.emplace(ticket, on_connected);
    // A channel that is full or closed ends this process from elsewhere: without a broker there are no sessions.
    if (const auto sent = control_.send(call_of(ticket), *payload); !sent)
        Log{}.error("the broker cannot be asked for a connection: {}", sent.error().text);
    return ticket;
}

void BrokerConnector::forget(Ticket ticket) noexcept {
    if (const auto at = questions_.find(ticket); at != questions_.end()) at->second = {};
}

bool BrokerConnector::is_reply(const rpc::Header& header) noexcept {
    return header == rpc::reply_to(call_of(header.serial));
}

std::string_view BrokerConnector::take_reply(rpc::Control::Message& message) {
    const auto at = questions_.find(message.header.serial);
    const auto answer = proto::decode<proto::work::ConnectRet>(message.payload);
    if (at == questions_.end()) return "a connection that nobody asked for";
    if (!answer || message.fds.count() != (answer->error == 0 ? 1U : 0U))
        return "a connection that does not decode";
    const OnConnected on_connected = at->second;
    questions_.erase(at);
    if (on_connected.object == nullptr) return {};
    Connected connected{.number = answer->error};
    if (answer->error == 0) connected.socket = message.fds.take(0);
    on_connected(connected);
    return {};
}

}  // namespace virtgate::workerd::worker
