// SPDX-License-Identifier: LGPL-2.1-or-later
// audit_post - the auditor's process, as the broker sees it.
#include "workerd/broker/audit_post.h"

#include <csignal>

#include "proto/codec.h"

namespace virtgate::workerd::broker {

namespace {

using proto::audit::Procedure;

rpc::Header header_of(Procedure procedure, std::uint32_t serial) noexcept {
    return rpc::make_message(proto::audit::k_program, proto::audit::k_version, procedure, serial);
}

}  // namespace

AuditPost::AuditPost(loop::Loop& loop, Plan plan, loop::Target<> on_new, loop::Target<> on_stopped)
    : loop_(loop),
      plan_(std::move(plan)),
      on_new_(on_new),
      on_stopped_(on_stopped),
      ward_(loop, *this, "auditor") {}

bool AuditPost::has_places() const noexcept { return plan_.config.journal || !plan_.config.file.empty(); }

void AuditPost::start() noexcept {
    if (has_places())
        ward_.start();
    else
        log_.warning("nothing is recorded: [audit] has neither a journal nor a file");
}

void AuditPost::stop() noexcept {
    stopping_ = true;
    const bool was_running = ward_.is_running();
    // It writes what it has and ends when its channel closes; the signal is for one that does not.
    control_.reset();
    ward_.stop(k_stop_patience);
    if (!was_running && ward_.is_idle()) on_stopped_();
}

Result<spawn::Launch> AuditPost::plan(spawn::Ward&) {
    auto config = proto::encode(plan_.config);
    if (!config) return system_fault(0, "the auditor's configuration does not encode");
    spawn::Launch launch;
    launch.path = plan_.program;
    launch.config = std::move(*config);
    launch.control = true;
    launch.user = plan_.user;
    return launch;
}

void AuditPost::on_started(spawn::Ward&, UniqueFd control) noexcept {
    control_ =
        std::make_unique<rpc::Control>(loop_, std::move(control), 0, loop::to<&AuditPost::on_message>(*this),
                                       loop::to<&AuditPost::on_closed>(*this), k_queue_max);
    on_new_();
    for (const auto& [number, arrival] : sessions_) send_bytes(Procedure::arrival, arrival);
}

void AuditPost::on_ended(spawn::Ward&, const spawn::Exit& exit) noexcept {
    control_.reset();
    if (stopping_) return on_stopped_();
    log_.error("{}; decisions are not recorded until there is a new one", describe(exit));
}

void AuditPost::on_message(rpc::Control::Message& message) noexcept {
    const rpc::Header& header = message.header;
    if (header == header_of(Procedure::ready, header.serial) && message.payload.empty())
        return log_.debug("serves");
    log_.error("it sent a message that is not known here; it is stopped");
    on_closed({});
}

// One that cannot be spoken to is replaced.
void AuditPost::on_closed(std::string_view) noexcept {
    control_.reset();
    if (stopping_ || !ward_.is_running()) return;
    log_.error("the channel to it broke");
    kill(ward_.pid(), SIGKILL);
}

void AuditPost::send_bytes(Procedure procedure, ByteView payload, UniqueFd fd) noexcept {
    if (!control_) return;
    const int end = fd.get();
    const auto sent = control_->send(header_of(procedure, control_->next_serial()), payload,
                                     fd ? std::span(&end, 1) : std::span<const int>{});
    if (sent) return;
    log_.error("it does not read: {}", sent.error().text);
    on_closed({});
}

template <class Args>
void AuditPost::send(Procedure procedure, const Args& args, UniqueFd fd) noexcept {
    const auto payload = proto::encode(args, rpc::Control::k_payload_max);
    if (!payload) return log_.error("a record is too long: it is lost");
    send_bytes(procedure, *payload, std::move(fd));
}

void AuditPost::reopen() noexcept { send_bytes(Procedure::reopen, {}); }

UniqueFd AuditPost::add_worker(std::uint64_t number, const std::string& identity) noexcept {
    if (!control_) return {};
    auto pair = make_channel_pair();
    if (!pair) {
        log_.error("no channel for the worker of {}: {}", identity, pair.error().text);
        return {};
    }
    send(Procedure::worker, proto::audit::WorkerArgs{.worker = number, .identity = identity},
         std::move(pair->second));
    return std::move(pair->first);
}

void AuditPost::tell(proto::audit::ArrivalArgs arrival) noexcept {
    if (!has_places()) return;
    const auto payload = proto::encode(arrival, rpc::Control::k_payload_max);
    if (!payload) return log_.error("the record of a client is too long: it is lost");
    send_bytes(Procedure::arrival, *payload);
    if (arrival.session != 0) sessions_.emplace(arrival.session, *payload);
}

void AuditPost::tell_departed(std::span<const std::uint64_t> sessions) noexcept {
    if (!has_places()) return;
    for (const std::uint64_t number : sessions) sessions_.erase(number);
    while (!sessions.empty()) {
        const auto some =
            sessions.first(std::min<std::size_t>(sessions.size(), proto::audit::k_departures_max));
        sessions = sessions.subspan(some.size());
        send(Procedure::departure, proto::audit::DepartureArgs{.sessions = {some.begin(), some.end()}});
    }
}

void AuditPost::tell(const proto::audit::PolicyArgs& policy) noexcept { send(Procedure::policy, policy); }

}  // namespace virtgate::workerd::broker
