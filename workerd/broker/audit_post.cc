// SPDX-License-Identifier: LGPL-2.1-or-later
// audit_post - the auditor's process, as the broker sees it.
#include "workerd/broker/audit_post.h"

#include <algorithm>

#include "proto/codec.h"

namespace virtgate::workerd::broker {

using proto::audit::Procedure;

AuditPost::AuditPost(loop::Loop& loop, Plan plan, loop::Target<> on_new, loop::Target<> on_locker_gone,
                     loop::Target<> on_stopped)
    : Post(loop,
           {.name = "auditor",
            .program = std::move(plan.program),
            .user = std::move(plan.user),
            .consequence = "decisions are not recorded until there is a new one",
            .queue_max = k_queue_max,
            .ready = rpc::make_message(proto::audit::k_program, proto::audit::k_version, Procedure::ready)},
           on_stopped),
      config_(std::move(plan.config)),
      on_new_(on_new),
      on_locker_gone_(on_locker_gone),
      late_(loop.timer(loop::to<&AuditPost::on_late>(*this))) {}

bool AuditPost::has_places() const noexcept { return config_.journal || !config_.file.empty(); }

void AuditPost::set_log_level(Level level) noexcept {
    config_.log_level = static_cast<std::uint32_t>(level);
    tune(level);
}

void AuditPost::start() noexcept {
    if (has_places())
        start_process();
    else
        log().warning("nothing is recorded: [audit] has neither a journal nor a file");
}

Result<ByteVector> AuditPost::make_config() const {
    auto config = proto::encode(config_);
    if (!config) return system_fault(0, "the auditor's configuration does not encode");
    return std::move(*config);
}

void AuditPost::on_new() noexcept {
    ended_.records += counted_.records;
    ended_.dropped += counted_.dropped;
    counted_ = {};
    on_new_();
    for (const auto& [number, arrival] : sessions_) send_bytes(Procedure::arrival, arrival);
}

void AuditPost::read(const std::function<void(const metrics::Samples&)>& then) {
    constexpr Milliseconds k_count_patience{1'000};
    readers_.push_back(then);
    if (!is_up()) return tell_readers();
    if (readers_.size() > 1) return;
    late_->start(k_count_patience);
    send_bytes(Procedure::count, {});
}

void AuditPost::tell_readers() noexcept {
    late_->stop();
    metrics::Tally tally;
    tally.add(metrics::Family::audit_records, {}, ended_.records + counted_.records);
    tally.add(metrics::Family::audit_records_lost, {}, ended_.dropped + counted_.dropped);
    for (const auto& then : std::exchange(readers_, {})) then(tally.samples());
}

bool AuditPost::take(const rpc::Control::Message& message) noexcept {
    if (message.header == rpc::make_message(proto::audit::k_program, proto::audit::k_version,
                                            Procedure::counted, message.header.serial)) {
        const auto counted = proto::decode<proto::audit::CountedArgs>(message.payload);
        if (!counted) return false;
        counted_ = *counted;
        tell_readers();
        return true;
    }
    if (message.header != rpc::make_message(proto::audit::k_program, proto::audit::k_version,
                                            Procedure::locker_gone, message.header.serial) ||
        !message.payload.empty())
        return false;
    on_locker_gone_();
    return true;
}

void AuditPost::send_bytes(Procedure procedure, ByteView payload, UniqueFd fd) noexcept {
    static_cast<void>(Post::send(proto::audit::k_program, proto::audit::k_version,
                                 static_cast<std::uint32_t>(procedure), payload, fd.get()));
}

template <class Args>
void AuditPost::send(Procedure procedure, const Args& args, UniqueFd fd) noexcept {
    const auto payload = proto::encode(args, rpc::Control::k_payload_max);
    if (!payload) return log().error("a record is too long: it is lost");
    send_bytes(procedure, *payload, std::move(fd));
}

void AuditPost::add_locker(UniqueFd connection) noexcept {
    send_bytes(Procedure::locker, {}, std::move(connection));
}

void AuditPost::reopen() noexcept { send_bytes(Procedure::reopen, {}); }

UniqueFd AuditPost::add_worker(std::uint64_t number, const std::string& identity) noexcept {
    if (!is_up()) return {};
    auto pair = make_channel_pair();
    if (!pair) {
        log().error("no channel for the worker of {}: {}", identity, pair.error().text);
        return {};
    }
    send(Procedure::worker, proto::audit::WorkerArgs{.worker = number, .identity = identity},
         std::move(pair->second));
    return std::move(pair->first);
}

void AuditPost::tell(proto::audit::ArrivalArgs arrival) noexcept {
    if (!has_places()) return;
    const auto payload = proto::encode(arrival, rpc::Control::k_payload_max);
    if (!payload) return log().error("the record of a client is too long: it is lost");
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
