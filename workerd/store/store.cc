// SPDX-License-Identifier: LGPL-2.1-or-later
// store - the process that serves virtgate:///, as a whole: its parts, its parent, its life.
#include "workerd/store/store.h"

#include "libshared/base/log.h"
#include "proto/codec.h"
#include "proto/store.h"
#include "proto/supervise.h"

namespace virtgate::workerd::store {

namespace {

// A client's own calls are judged and counted by its worker; here is room for as many as libvirt's daemons have.
constexpr unsigned k_calls = 5;
constexpr std::size_t k_frame_max = 16384;
// A few pieces of streams may wait while calls go on.
constexpr std::size_t k_unsent_max = 4U << 20;

server::ServerLimits make_limits() {
    return {.clients = Store::k_links_max,
            // Both ends are on this machine: nobody has to be asked whether he lives.
            .client = {.frame_max = k_frame_max,
                       .calls = k_calls,
                       .ping_interval = Milliseconds{0},
                       .unsent = k_unsent_max}};
}

template <class Procedure>
rpc::Header message_of(std::uint32_t program, std::uint32_t version, Procedure procedure,
                       std::uint32_t serial) noexcept {
    return rpc::make_message(program, version, procedure, serial);
}

}  // namespace

Store::Store(loop::Loop& loop, const Parts& parts, Locks::Plan locks, UniqueFd channel)
    : loop_(loop),
      program_(remote::k_program, remote::k_version),
      server_(loop, make_limits(), *this),
      announcer_(server_),
      locks_(loop, std::move(locks), loop::to<&Store::ask_locks>(*this)),
      house_(loop, parts.places, parts.state, parts.swift, parts.slow, announcer_, locks_),
      connect_desk_(program_, parts.host, house_),
      pool_desk_(program_, house_),
      volume_desk_(program_, house_),
      transfer_desk_(program_, house_),
      channel_(loop, std::move(channel), 1, loop::to<&Store::on_message>(*this),
               loop::to<static_cast<void (Store::*)(std::string_view) noexcept>(&Store::on_closed)>(*this)) {
    program_.judge_by<&ConnectDesk::judge>(connect_desk_);
    server_.add(program_);
}

Store::~Store() = default;

Done Store::start(const std::string& default_pool) {
    house_.restore(default_pool);
    return channel_.send(message_of(proto::supervise::k_program, proto::supervise::k_version,
                                    proto::supervise::Procedure::ready, channel_.next_serial()),
                         {});
}

void Store::on_message(rpc::Control::Message& message) noexcept {
    if (message.header == message_of(proto::store::k_program, proto::store::k_version,
                                     proto::store::Procedure::attach, message.header.serial))
        return attach(message);
    if (message.header == message_of(proto::store::k_program, proto::store::k_version,
                                     proto::store::Procedure::locks, message.header.serial))
        return take_way(message);
    if (message.header == message_of(proto::supervise::k_program, proto::supervise::k_version,
                                     proto::supervise::Procedure::tune, message.header.serial))
        if (const auto change = proto::decode<proto::supervise::TuneArgs>(message.payload))
            return set_log_level(static_cast<Level>(change->log_level));
    // Broker and store are of one build.
    Log{}.error("the broker sent a message that is not known here");
    loop_.stop();
}

void Store::attach(rpc::Control::Message& message) noexcept {
    const auto args = proto::decode<proto::store::AttachArgs>(message.payload);
    if (!args || message.fds.count() != 1) {
        Log{}.error("the broker sent a connection that does not decode");
        return loop_.stop();
    }
    const auto client = server_.adopt({.socket = message.fds.take(0), .input = {}, .output = {}}, 0);
    if (!client) return Log{}.error("a connection of {} is refused: {}", args->identity, client.error().text);
    connect_desk_.add((*client)->id(), args->read_only);
    locks_.add((*client)->id(), {.identity = args->identity, .session = args->session});
    Log{}.debug("a connection of {}{}", args->identity, args->read_only ? ", which only reads" : "");
}

void Store::take_way(rpc::Control::Message& message) noexcept {
    const auto args = proto::decode<proto::store::LocksArgs>(message.payload);
    if (!args || message.fds.count() != (args->why.empty() ? 1U : 0U)) {
        Log{}.error("the broker sent a way to the lock daemon that does not decode");
        return loop_.stop();
    }
    if (args->why.empty()) return locks_.set_way(message.fds.take(0));
    Log{}.warning("volumes cannot be locked: {}", escape(args->why));
    locks_.set_no_way(args->why);
}

void Store::ask_locks() noexcept {
    const auto asked = channel_.send(message_of(proto::store::k_program, proto::store::k_version,
                                                proto::store::Procedure::ask_locks, channel_.next_serial()),
                                     {});
    if (!asked)
        Log{}.error("the broker cannot be asked for a way to the lock daemon: {}", asked.error().text);
}

void Store::on_closed(std::string_view) noexcept { loop_.stop(); }

void Store::on_closed(server::Client& client, std::string_view reason) noexcept {
    connect_desk_.forget(client.id());
    locks_.forget(client.id());
    Log{}.debug("a connection has ended: {}", reason);
}

}  // namespace virtgate::workerd::store
