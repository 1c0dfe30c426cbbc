// SPDX-License-Identifier: LGPL-2.1-or-later
// locker - the process that serves clients of the lock program, as a whole: its parts, its parent, its life.
#include "lockd/locker/locker.h"

#include <algorithm>

#include "libshared/base/boot_clock.h"
#include "libshared/spawn/exit.h"
#include "proto/codec.h"
#include "proto/supervise.h"

namespace virtgate::lockd::locker {

namespace holder = proto::holder;
namespace supervise = proto::supervise;

namespace {

// One connection waits for what its parent keeps: as many messages as there can be clients, and some.
constexpr std::size_t k_queue_max = 131'072;

template <class Procedure>
bool is_message(const rpc::Control::Message& message, std::uint32_t program, Procedure procedure) noexcept {
    return message.header.program == program && message.header.type == rpc::Type::message &&
           message.header.procedure == static_cast<std::uint32_t>(procedure);
}

// virtlockd serves one call of a client at a time, and never pings.
server::ServerLimits make_limits(const proto::config::LockerConfig& config) {
    return {.clients = config.max_clients,
            .client = {.frame_max = proto::kept::k_unread_max, .calls = 1, .ping_interval = Milliseconds{0}}};
}

}  // namespace

Locker::Locker(loop::Loop& loop, const proto::config::LockerConfig& config, UniqueFd channel,
               LockTable::WallClock clock)
    : loop_(loop),
      config_(config),
      space_roots_(config.lock_spaces),
      direct_roots_(config.direct),
      channel_(loop, std::move(channel), holder::k_kept_batch_max, loop::to<&Locker::on_message>(*this),
               loop::to<&Locker::on_channel_closed>(*this), k_queue_max),
      keeping_(loop, channel_),
      table_(keeping_, *this, clock, config.locks_per_identity),
      spaces_(space_roots_, direct_roots_, keeping_, table_),
      departures_(loop, table_, keeping_, config.fencing),
      connections_(keeping_, departures_, *this),
      sessions_(connections_, witness_, {config.users.begin(), config.users.end()},
                {config.session_users.begin(), config.session_users.end()}),
      desk_(connections_, sessions_, spaces_, table_),
      server_(loop, make_limits(config), *this),
      administration_(connections_, sessions_, spaces_, table_, server_, witness_, departures_),
      recovery_({keeping_, spaces_, table_, departures_, connections_, server_}, *this) {
    server_.add(desk_.program());
    server_.add(administration_.program());
    server_.add(sessions_.program());
    EtcdSpaceUser& user = *this;
    for (const auto& space : config_.etcd) {
        in_etcd_.push_back(std::make_unique<EtcdSpace>(loop, boot_clock(), keeping_, space, user));
        spaces_.add(*in_etcd_.back());
    }
}

Locker::~Locker() = default;

void Locker::on_message(rpc::Control::Message& message) noexcept {
    if (state_ == State::over) return;
    if (message.header.program == holder::k_program && message.header.type == rpc::Type::reply) {
        if (!keeping_.take_reply(message)) {
            Log{}.error("the holder answers something that was not asked");
            end(spawn::k_exit_system);
        }
        return;
    }
    if (is_message(message, holder::k_program, holder::Procedure::hand_over)) return begin_hand_over();
    if (is_message(message, holder::k_program, holder::Procedure::queue)) return open_queue(message);
    if (is_message(message, holder::k_program, holder::Procedure::grant)) {
        if (const auto grant = proto::decode<holder::GrantArgs>(message.payload)) keeping_.set_grant(*grant);
        return;
    }
    if (is_message(message, supervise::k_program, supervise::Procedure::adopt)) return adopt(message);
    if (is_message(message, supervise::k_program, supervise::Procedure::serve) && state_ == State::waiting) {
        state_ = State::serving;
        server_.start();
    }
}

void Locker::open_queue(rpc::Control::Message& message) noexcept {
    const auto args = proto::decode<holder::QueueArgs>(message.payload);
    if (!args || message.fds.count() != 1) return end(spawn::k_exit_system);
    keeping_.open(message.fds.take(0), *args);
}

void Locker::adopt(rpc::Control::Message& message) noexcept {
    const auto args = proto::decode<supervise::AdoptArgs>(message.payload);
    if (args && args->role == supervise::PeerRole::peer_leaser && args->index < in_etcd_.size() &&
        message.fds.count() == 1)
        in_etcd_[args->index]->adopt(message.fds.take(0));
}

void Locker::on_lost(const std::string& path, const std::string& name, const std::string& reason) noexcept {
    Log{}.error("the lock on {} in {} is lost: {}", escape(name), escape(path), reason);
    table_.lose(path, name);
}

void Locker::on_lost(const Owner& owner, const std::string& name) noexcept {
    // Whoever has a session hears of it by its end. A lock that was kept without one has nobody to tell.
    if (!is_process(owner)) return connections_.dismiss(owner, server_);
    departures_.fence(owner, connections_.find_process(owner.process), name);
}

void Locker::on_channel_closed(std::string_view reason) noexcept {
    Log{}.error("the holder is gone: {}", reason);
    end(spawn::k_exit_system);
}

void Locker::on_recovered(Done done) noexcept {
    if (!done) {
        Log{}.error("cannot take over what is kept: {}", done.error().text);
        return end(spawn::k_exit_system);
    }
    state_ = State::waiting;
    for (const auto& space : in_etcd_) space->start();
    const auto said = channel_.send(
        rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::ready), {});
    if (!said) return end(spawn::k_exit_system);
    if (hands_over_) begin_hand_over();
}

bool Locker::admits(const server::Peer& peer, unsigned) noexcept {
    const auto& users = config_.users;
    if (std::find(users.begin(), users.end(), peer.uid) != users.end() || sessions_.admits(peer.uid))
        return true;
    if (strangers_.next())
        Log{}.info("process {} of user {} may not connect ({} such connections)", peer.pid, peer.uid,
                   strangers_.count());
    return false;
}

void Locker::on_closed(server::Client& client, std::string_view reason) noexcept {
    Log{}.debug("connection {} of process {} ended: {}", client.id(), client.peer().pid, reason);
    sessions_.on_closed(client);
    witness_.on_closed(client);
    connections_.on_closed(client);
}

void Locker::begin_hand_over() noexcept {
    hands_over_ = true;
    if (state_ != State::waiting && state_ != State::serving) return;
    state_ = State::handing_over;
    server_.pause();
}

void Locker::on_settled() noexcept {
    is_settled_ = true;
    hand_over_if_settled();
}

// Whoever comes next starts from what is kept: nothing may be half done.
void Locker::hand_over_if_settled() noexcept {
    if (state_ != State::handing_over || !is_settled_ || !table_.is_idle()) return;
    is_settled_ = false;  // once
    connections_.hand_over(server_);
}

void Locker::end(int status) noexcept {
    state_ = State::over;
    status_ = status;
    loop_.stop();
}

}  // namespace virtgate::lockd::locker
