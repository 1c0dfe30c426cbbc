// SPDX-License-Identifier: LGPL-2.1-or-later
// auditor - the channels of the broker and of the workers, and the order in which they are read.
#include "workerd/auditor/auditor.h"

#include <algorithm>

#include "libshared/base/bytes.h"
#include "proto/codec.h"
#include "proto/supervise.h"

namespace virtgate::workerd::auditor {

namespace audit = proto::audit;
using loop::Want;
using Procedure = audit::Procedure;

namespace {

bool is_ours(const rpc::Header& header) noexcept {
    return header.program == audit::k_program && header.version == audit::k_version &&
           header.type == rpc::Type::message && header.status == rpc::Status::ok;
}

}  // namespace

// One worker's channel.
struct Auditor::Channel {
    Channel(Auditor& auditor, std::uint64_t worker, UniqueFd socket)
        : owner(auditor),
          number(worker),
          inlet(std::move(socket), worker == Ledger::k_locker ? Inlet::Kind::stream : Inlet::Kind::packets),
          watch(auditor.loop_.watch(inlet.fd(), Want::read, loop::to<&Channel::on_ready>(*this))),
          patience(auditor.loop_.timer(loop::to<&Channel::on_impatient>(*this))) {}

    // Both may destroy this object.
    void on_ready(Want) noexcept { owner.on_worker(number); }
    void on_impatient() noexcept { owner.on_impatient(number); }

    // While a message waits for its session, nothing is read.
    [[nodiscard]] bool is_blocked() const noexcept { return !early.empty(); }

    Auditor& owner;
    const std::uint64_t number;
    Inlet inlet;
    ByteVector early{};  // a whole frame
    std::unique_ptr<loop::Watch> watch;
    std::unique_ptr<loop::Timer> patience;
};

Auditor::Auditor(loop::Loop& loop, UniqueFd broker, Ledger& ledger, Outlets& outlets, WallClock clock)
    : loop_(loop),
      broker_(std::move(broker)),
      ledger_(ledger),
      outlets_(outlets),
      clock_(clock),
      watch_(loop.watch(broker_.fd(), Want::read, loop::to<&Auditor::on_broker>(*this))),
      retry_(loop.timer(loop::to<&Auditor::on_retry>(*this))) {}

Auditor::~Auditor() = default;

Done Auditor::report_ready() {
    const auto frame =
        rpc::make_frame(rpc::make_message(audit::k_program, audit::k_version, Procedure::ready), {});
    if (channel::send_packet(broker_.fd(), frame) != channel::Outcome::done)
        return system_fault(0, "the channel to the parent process is closed");
    return {};
}

void Auditor::finish() noexcept {
    if (is_finished_) return;
    is_finished_ = true;
    drain_broker();
    while (!channels_.empty()) {
        const std::uint64_t number = channels_.begin()->first;
        read_waiting(number);
        const auto place = channels_.find(number);
        if (place == channels_.end()) continue;  // it was closed
        if (place->second->is_blocked())
            outlets_.write(
                make_dropped(clock_(), ledger_.identity_of(number), 1, "its session is not known"));
        channels_.erase(place);
    }
    ledger_.give_up();
    outlets_.retry();
    retry_->stop();
    watch_.reset();
    loop_.stop();
}

void Auditor::on_broker(Want) noexcept {
    drain_broker();
    if (is_orphan_) return finish();
    watch_outlets();
}

void Auditor::on_worker(std::uint64_t worker) noexcept {
    drain_broker();
    if (is_orphan_) return finish();
    read_worker(worker, k_burst);
    watch_outlets();
}

void Auditor::on_impatient(std::uint64_t worker) noexcept {
    drain_broker();
    if (is_orphan_) return finish();
    if (const auto place = channels_.find(worker); place != channels_.end() && place->second->is_blocked())
        accuse(*place->second, "it speaks of a session that does not exist");
    watch_outlets();
}

void Auditor::on_retry() noexcept {
    outlets_.retry();
    watch_outlets();
}

void Auditor::watch_outlets() noexcept {
    if (outlets_.has_failed() && !retry_->running()) retry_->start(k_retry);
}

void Auditor::drain_broker() {
    Inlet::Message message;
    UniqueFd channel;
    while (!is_orphan_) {
        switch (broker_.read(message, &channel)) {
            case Inlet::State::empty: return;
            case Inlet::State::message: take_broker(message, std::move(channel)); break;
            case Inlet::State::broken:
                // A descriptor that did not fit, for example. Whoever starts another auditor tells it everything.
                log_.error("the parent process sent something that is no message");
                [[fallthrough]];
            case Inlet::State::closed: is_orphan_ = true; break;
        }
    }
}

void Auditor::take_broker(const Inlet::Message& message, UniqueFd channel) {
    const bool is_known = is_ours(message.header);
    const auto procedure = static_cast<Procedure>(message.header.procedure);
    if (is_known && procedure == Procedure::worker && channel) {
        if (auto worker = proto::decode<audit::WorkerArgs>(message.payload))
            return add_worker(std::move(*worker), std::move(channel));
    } else if (is_known && procedure == Procedure::arrival) {
        if (const auto arrival = proto::decode<audit::ArrivalArgs>(message.payload)) {
            ledger_.open_session(*arrival);
            take_early(arrival->worker);
            return take_early(Ledger::k_locker);
        }
    } else if (is_known && procedure == Procedure::departure) {
        if (const auto departure = proto::decode<audit::DepartureArgs>(message.payload))
            return depart(*departure);
    } else if (is_known && procedure == Procedure::policy) {
        if (const auto policy = proto::decode<audit::PolicyArgs>(message.payload))
            return ledger_.note_policy(*policy);
    } else if (is_known && procedure == Procedure::locker && message.payload.empty() && channel) {
        return add_locker(std::move(channel));
    } else if (is_known && procedure == Procedure::reopen && message.payload.empty()) {
        return outlets_.reopen();
    } else if (message.header == rpc::make_message(proto::supervise::k_program, proto::supervise::k_version,
                                                   proto::supervise::Procedure::tune,
                                                   message.header.serial)) {
        if (const auto change = proto::decode<proto::supervise::TuneArgs>(message.payload))
            return set_log_level(static_cast<Level>(change->log_level));
    } else if (is_known && procedure == Procedure::count && message.payload.empty()) {
        return tell_counts();
    }
    log_.error("the parent process sent a message that an auditor does not know");
}

void Auditor::add_worker(audit::WorkerArgs&& worker, UniqueFd channel) {
    // It replaces an older one, which may still hold something.
    read_waiting(worker.worker);
    end(worker.worker);
    log_.debug("worker {} is that of {}", worker.worker, escape(worker.identity));
    ledger_.add_worker(worker.worker, std::move(worker.identity));
    channels_[worker.worker] = std::make_unique<Channel>(*this, worker.worker, std::move(channel));
}

void Auditor::add_locker(UniqueFd connection) {
    read_waiting(Ledger::k_locker);
    end(Ledger::k_locker);
    log_.debug("hears the lock daemon");
    ledger_.add_worker(Ledger::k_locker, "");
    channels_[Ledger::k_locker] = std::make_unique<Channel>(*this, Ledger::k_locker, std::move(connection));
}

// The broker asks the lock daemon for another one. When that is gone, too, it is for the broker to try again.
void Auditor::tell_locker_gone() noexcept {
    if (is_orphan_ || is_finished_) return;
    const auto frame =
        rpc::make_frame(rpc::make_message(audit::k_program, audit::k_version, Procedure::locker_gone), {});
    if (channel::send_packet(broker_.fd(), frame) != channel::Outcome::done)
        log_.error("the parent process is not told that the lock daemon is gone");
}

void Auditor::tell_counts() noexcept {
    const auto payload =
        proto::encode(audit::CountedArgs{.records = outlets_.records(), .dropped = outlets_.dropped()});
    require(payload.has_value(), "numbers do not encode");
    const auto frame =
        rpc::make_frame(rpc::make_message(audit::k_program, audit::k_version, Procedure::counted), *payload);
    if (channel::send_packet(broker_.fd(), frame) != channel::Outcome::done)
        log_.debug("the parent process is not told how many records there were");
}

void Auditor::depart(const audit::DepartureArgs& departure) {
    for (const std::uint64_t session : departure.sessions) {
        read_waiting(ledger_.worker_of(session));
        read_waiting(Ledger::k_locker);
        ledger_.close_session(session);
    }
}

void Auditor::read_worker(std::uint64_t worker, int messages) {
    // Looked up each time: a message may cost the worker its channel.
    for (; messages > 0; --messages) {
        const auto place = channels_.find(worker);
        if (place == channels_.end() || read_one(*place->second) == 0) return;
    }
}

void Auditor::read_waiting(std::uint64_t worker) {
    auto place = channels_.find(worker);
    if (place == channels_.end()) return;
    std::size_t left = place->second->inlet.waiting();
    // Once more than there are messages: the end of a channel has no bytes.
    for (bool is_last = false; !is_last; place = channels_.find(worker)) {
        is_last = left == 0;
        if (place == channels_.end()) return;
        const std::size_t size = read_one(*place->second);
        if (size == 0) return;
        left -= std::min(size, left);
    }
}

// The size of the message that was read; 0 if there was none, and `channel` may be gone.
std::size_t Auditor::read_one(Channel& channel) {
    if (channel.is_blocked()) return 0;
    Inlet::Message message;
    switch (channel.inlet.read(message)) {
        case Inlet::State::empty: return 0;
        case Inlet::State::closed: {
            const bool is_locker = channel.number == Ledger::k_locker;
            end(channel.number);
            if (is_locker) tell_locker_gone();
            return 0;
        }
        case Inlet::State::broken: accuse(channel, "it sent something that is no message"); return 0;
        case Inlet::State::message: break;
    }
    const std::size_t size = rpc::k_frame_min + message.payload.size();
    take_worker(channel, message);
    return size;
}

void Auditor::take_worker(Channel& channel, const Inlet::Message& message) {
    const auto procedure = static_cast<Procedure>(message.header.procedure);
    Result<Ledger::Taken> taken = peer_fault("it sent a message that is not for a worker to send");
    if (is_ours(message.header) && procedure == Procedure::decision) {
        if (auto decision = proto::decode<audit::DecisionArgs>(message.payload))
            taken = ledger_.decide(channel.number, std::move(*decision));
        else
            taken = peer_fault(fmt::format("it sent a decision with {}", to_text(decision.error())));
    } else if (is_ours(message.header) && procedure == Procedure::outcome) {
        if (const auto outcome = proto::decode<audit::OutcomeArgs>(message.payload))
            taken = ledger_.settle(channel.number, *outcome);
        else
            taken = peer_fault(fmt::format("it sent an outcome with {}", to_text(outcome.error())));
    } else if (is_ours(message.header) && procedure == Procedure::broken &&
               channel.number == Ledger::k_locker) {
        if (const auto broken = proto::decode<audit::BrokenArgs>(message.payload)) {
            ledger_.note_broken(*broken);
            taken = Ledger::Taken::yes;
        } else {
            taken = peer_fault(fmt::format("it sent a broken lock with {}", to_text(broken.error())));
        }
    }
    if (!taken) return accuse(channel, taken.error().text);
    if (*taken == Ledger::Taken::yes) return;
    channel.early = rpc::make_frame(message.header, message.payload);
    channel.watch->set(Want::nothing);
    if (!channel.patience->running()) channel.patience->start(k_patience);
}

// A session of that worker has become known: perhaps the one that its next message is about.
void Auditor::take_early(std::uint64_t worker) {
    const auto place = channels_.find(worker);
    if (place == channels_.end() || !place->second->is_blocked()) return;
    Channel& channel = *place->second;
    const ByteVector frame = std::exchange(channel.early, {});
    channel.watch->set(Want::read);
    take_worker(channel, {rpc::read_header(frame.data()), ByteView(frame).subspan(rpc::k_frame_min)});
    const auto after = channels_.find(worker);
    if (after != channels_.end() && !after->second->is_blocked()) after->second->patience->stop();
}

void Auditor::accuse(Channel& channel, std::string_view why) {
    const std::uint64_t number = channel.number;
    const std::string identity = ledger_.identity_of(number);
    ++accused_;
    const std::string who =
        number == Ledger::k_locker ? std::string("the lock daemon") : fmt::format("worker {}", number);
    log_.error("{}{}{} is not listened to any more: {}", who, identity.empty() ? "" : " of ",
               escape(identity), why);
    end(number);
    outlets_.write(
        make_dropped(clock_(), identity, 0, fmt::format("{} is not listened to any more: {}", who, why)));
}

void Auditor::end(std::uint64_t worker) {
    channels_.erase(worker);
    ledger_.lose_worker(worker);
}

}  // namespace virtgate::workerd::auditor
