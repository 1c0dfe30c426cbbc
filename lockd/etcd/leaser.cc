// SPDX-License-Identifier: LGPL-2.1-or-later
// leaser - the process that has one lock space in etcd, as a whole: its parts, its parent, the locker.
#include "lockd/etcd/leaser.h"

#include "libshared/base/boot_clock.h"
#include "libshared/base/log.h"
#include "libshared/rpc/error.h"
#include "proto/codec.h"
#include "proto/supervise.h"

namespace virtgate::lockd::etcd {

namespace lease = proto::lease;
namespace supervise = proto::supervise;
using lease::Procedure;

namespace {

constexpr std::size_t k_queue_max = 131'072;
constexpr Milliseconds k_retry{500};

std::string to_string(const std::vector<std::byte>& bytes) { return std::string(as_text(bytes)); }

ByteVector to_bytes(std::string_view text, std::size_t limit) {
    const ByteView bytes = as_bytes(text.substr(0, limit));
    return {bytes.begin(), bytes.end()};
}

Cluster::Setup make_setup(const proto::config::LeaserConfig& config, std::vector<Endpoint> endpoints) {
    return {.endpoints = std::move(endpoints),
            .tls = {.authorities = config.authorities, .certificate = config.certificate, .key = config.key},
            .timeout = Milliseconds{config.timeout},
            .user = config.user,
            .password = config.password};
}

}  // namespace

Leaser::Leaser(loop::Loop& loop, const Clock& clock, const proto::config::LeaserConfig& config,
               std::vector<Endpoint> endpoints, UniqueFd channel)
    : loop_(loop),
      config_(config),
      keys_(config_.prefix),
      cluster_(loop, make_setup(config_, std::move(endpoints))),
      lease_(loop, clock, cluster_, config_.ttl, *this),
      place_{.loop = loop,
             .cluster = cluster_,
             .lease = lease_,
             .keys = keys_,
             .host = config_.host,
             .patience = Milliseconds{config_.timeout} * k_requests},
      holds_(place_, *this),
      overview_(loop, cluster_, keys_, place_.patience, *this),
      parent_(loop, std::move(channel), 1, loop::to<&Leaser::on_parent_message>(*this),
              loop::to<&Leaser::on_parent_closed>(*this)),
      retry_(loop.timer(loop::to<&Leaser::settle>(*this))) {}

Leaser::~Leaser() { cluster_.forget(*this); }

Done Leaser::start() {
    return parent_.send(
        rpc::make_message(supervise::k_program, supervise::k_version, supervise::Procedure::ready), {});
}

// --- the parent ---

void Leaser::on_parent_message(rpc::Control::Message& message) noexcept {
    const rpc::Header adopt = rpc::make_message(supervise::k_program, supervise::k_version,
                                                supervise::Procedure::adopt, message.header.serial);
    const auto args = proto::decode<supervise::AdoptArgs>(message.payload);
    if (message.header != adopt || !args || args->role != supervise::PeerRole::peer_locker ||
        message.fds.count() != 1)
        return;
    drop_locker();
    locker_ =
        std::make_unique<rpc::Control>(loop_, message.fds.take(0), 0, loop::to<&Leaser::on_message>(*this),
                                       loop::to<&Leaser::on_closed>(*this), k_queue_max);
}

void Leaser::on_parent_closed(std::string_view) noexcept { loop_.stop(); }

// --- the locker ---

void Leaser::drop_locker() noexcept {
    locker_.reset();
    calls_.clear();
    resumed_ = false;
    resuming_.clear();
}

void Leaser::on_closed(std::string_view reason) noexcept {
    Log{}.info("the locker is gone: {}", reason);
    drop_locker();
}

void Leaser::on_message(rpc::Control::Message& message) noexcept {
    if (serve(message)) return;
    Log{}.error("the locker sent a message that has no place here");
    drop_locker();
}

bool Leaser::serve(const rpc::Control::Message& message) {
    const rpc::Header& header = message.header;
    if (header.program != lease::k_program || header.version != lease::k_version) return false;
    if (header == rpc::make_message(lease::k_program, lease::k_version, Procedure::resume, header.serial))
        return serve_resume(message);
    if (!resumed_ || header.type != rpc::Type::call) return false;
    switch (static_cast<Procedure>(header.procedure)) {
        case Procedure::take: {
            const auto args = proto::decode<lease::TakeArgs>(message.payload);
            return args && begin({.kind = Task::Kind::take,
                                  .name = to_string(args->name),
                                  .shared = args->shared,
                                  .create = args->create},
                                 header);
        }
        case Procedure::let_go: {
            const auto args = proto::decode<lease::Leased>(message.payload);
            return args && begin({.kind = Task::Kind::let_go,
                                  .name = to_string(args->name),
                                  .shared = args->shared,
                                  .lease = args->lease,
                                  .token = args->token},
                                 header);
        }
        case Procedure::create:
        case Procedure::remove: {
            const auto args = proto::decode<lease::NameArgs>(message.payload);
            const bool create = static_cast<Procedure>(header.procedure) == Procedure::create;
            return args && begin({.kind = create ? Task::Kind::create : Task::Kind::remove,
                                  .name = to_string(args->name)},
                                 header);
        }
        case Procedure::resume:
        case Procedure::state:
        case Procedure::lost: return false;
    }
    return false;
}

bool Leaser::begin(Task task, const rpc::Header& call) {
    if (!is_name(task.name)) return false;
    const std::uint32_t serial = next_serial_++;
    calls_.emplace(serial, call);
    const bool may = is_through_ && lease_.is_good();
    if (task.kind == Task::Kind::take && !may)
        on_verdict(serial, task, Verdict::failed, 0,
                   lease_.reason().empty() ? "the lock space is not looked through yet" : lease_.reason());
    else
        holds_.start(std::move(task), serial);
    return true;
}

bool Leaser::serve_resume(const rpc::Control::Message& message) {
    const auto args = proto::decode<lease::ResumeArgs>(message.payload);
    if (!args || resumed_) return false;
    for (const lease::Leased& one : args->held)
        resuming_[to_string(one.name)] = {.shared = one.shared, .lease = one.lease, .token = one.token};
    if (!args->last) return true;
    resumed_ = true;
    is_through_ = false;
    overview_.stop();
    holds_.replace(std::exchange(resuming_, {}));
    tell_state();
    lease_.start(args->lease != 0 ? args->lease : lease_.id());
    return true;
}

void Leaser::on_verdict(std::uint32_t serial, const Task& task, Verdict verdict, Revision token,
                        const std::string& reason) noexcept {
    const auto call = calls_.extract(serial);
    if (call.empty() || !locker_) return;
    const rpc::Header& header = call.mapped();
    Done sent;
    if (verdict != Verdict::done) {
        const int code = verdict == Verdict::busy ? rpc::k_code_resource_busy : rpc::k_code_operation_failed;
        sent = locker_->send_error(header, code, reason);
    } else if (task.kind == Task::Kind::take) {
        const auto payload = proto::encode(lease::TakeRet{.lease = lease_.id(), .token = token});
        sent = locker_->send_reply(header, *payload);
    } else {
        sent = locker_->send_reply(header, {});
    }
    // The end of the channel follows.
    if (!sent) Log{}.error("cannot answer the locker: {}", sent.error().text);
}

// --- the lease ---

void Leaser::on_found() noexcept {
    // What an earlier lease held ended with it.
    tell_lost(holds_.take_strange(), "the lease in etcd has ended");
    if (!lease_.is_good()) tell_lost(holds_.take_all(), "the lease in etcd may end soon");
    is_through_ = false;
    place_.settled = 0;
    settle();
}

// What an earlier process has asked for with this lease, and got no answer to, cannot be done any more after
// this.
void Leaser::settle() noexcept {
    settling_ = cluster_.ask({.path = "/v3/kv/txn",
                              .body = write_transaction(make_settlement(keys_, lease_.id())),
                              .repeat = Cluster::Repeat::harmless,
                              .timeout = place_.patience},
                             *this);
}

void Leaser::on_answer(Ticket ticket, Answer answer) noexcept {
    if (settling_ != ticket) return;
    settling_.reset();
    if (answer.outcome == Outcome::answered) {
        place_.settled = std::max(place_.settled, answer.reply.revision);
        return overview_.start();
    }
    if (answer.outcome == Outcome::refused && answer.refusal.code == k_not_found) return lease_.on_missing();
    Log{}.info("the lock space cannot be looked through: {}", answer.reason);
    retry_->start(k_retry);
}

void Leaser::on_renewed() noexcept { tell_state(); }

void Leaser::on_late(const std::string& reason) noexcept {
    tell_state();
    tell_lost(holds_.take_all(), fmt::format("the lease in etcd was not renewed: {}", reason));
}

void Leaser::on_gone() noexcept {
    overview_.stop();
    settling_.reset();
    retry_->stop();
    is_through_ = false;
    tell_state();
    tell_lost(holds_.take_all(), "the lease in etcd has ended");
}

// --- what etcd says of our keys ---

void Leaser::on_seen(const KeyValue& key, Revision at) noexcept {
    if (key.lease == lease_.id()) holds_.see(key, at);
}

void Leaser::on_listed(Revision at) noexcept {
    tell_lost(holds_.take_missing(at), "somebody has broken the lock");
    is_through_ = true;
    tell_state();
}

void Leaser::on_deleted(const KeyValue& key) noexcept {
    tell_lost(holds_.take_deleted(key), "somebody has broken the lock");
}

// --- what the locker is told ---

void Leaser::tell_state() {
    using Phase = lease::LeasePhase;
    if (!locker_ || !resumed_) return;
    const bool is_late = lease_.state() == Lease::State::late;
    const bool is_alive = lease_.is_good() && is_through_;
    const std::string& reason = lease_.reason();
    // Not alive yet, but good: what is held is held until then all the same.
    const lease::StateArgs state{
        .phase = is_late    ? Phase::lease_late
                 : is_alive ? Phase::lease_alive
                            : Phase::lease_connecting,
        .lease = lease_.id(),
        .lost_at = lease_.is_good() ? to_boot_ms(lease_.late_at()) : 0,
        .reason = to_bytes(reason.empty() && !is_alive ? "the lock space is looked through" : reason,
                           lease::k_leased_text_max)};
    const auto payload = proto::encode(state);
    require(payload.has_value(), "a state does not encode");
    send(rpc::make_message(lease::k_program, lease::k_version, Procedure::state), *payload);
}

void Leaser::tell_lost(const HeldByName& lost, std::string_view reason) {
    lease::LostArgs args{.lost = {}, .reason = to_bytes(reason, lease::k_leased_text_max)};
    const auto flush = [&] {
        if (args.lost.empty() || !locker_) return;
        const auto payload = proto::encode(args);
        require(payload.has_value(), "lost locks do not encode");
        send(rpc::make_message(lease::k_program, lease::k_version, Procedure::lost), *payload);
        args.lost.clear();
    };
    for (const auto& [name, held] : lost) {
        Log{}.warning("{} is lost: {}", escape(name), reason);
        args.lost.push_back({.name = to_bytes(name, lease::k_leased_name_max),
                             .shared = held.shared,
                             .lease = held.lease,
                             .token = held.token});
        if (args.lost.size() == lease::k_leased_batch_max) flush();
    }
    flush();
}

void Leaser::send(const rpc::Header& header, ByteView payload) {
    if (const auto sent = locker_->send(header, payload); !sent)
        Log{}.error("cannot reach the locker: {}", sent.error().text);
}

}  // namespace virtgate::lockd::etcd
