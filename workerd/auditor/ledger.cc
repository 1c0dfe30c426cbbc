// SPDX-License-Identifier: LGPL-2.1-or-later
// ledger - who the sessions are for, and the allowed calls whose end is still to come.
#include "workerd/auditor/ledger.h"

#include "proto/lock.h"

namespace virtgate::workerd::auditor {

namespace audit = proto::audit;

namespace {

std::size_t cost_of(const std::optional<audit::RulePlace>& place) {
    return place ? place->role.size() + place->file.size() : 0;
}

// About what a held call takes in memory: the texts, and a round sum for what is around them.
std::size_t cost_of(const audit::DecisionArgs& decision) {
    constexpr std::size_t k_frame = 512;
    std::size_t cost = k_frame + decision.detail.size() + cost_of(decision.place) + cost_of(decision.shadow);
    for (const audit::AuditObject& object : decision.objects)
        cost += sizeof object + object.name.size() + object.uuid.size();
    return cost;
}

template <class Enum>
bool is_between(Enum value, Enum first, Enum last) {
    return value >= first && value <= last;
}

// What the type of a message cannot say: enumerations may hold any number. Empty if all is right.
std::string_view flaw_of(const audit::DecisionArgs& decision) {
    using audit::AuditReason;
    using audit::AuditVerdict;
    using proto::policy::ObjectKind;
    if (!is_between(decision.verdict, AuditVerdict::verdict_allowed, AuditVerdict::verdict_shadowed))
        return "a verdict that does not exist";
    if (!is_between(decision.reason, AuditReason::reason_allowed, AuditReason::reason_redacted))
        return "a reason that does not exist";
    for (const audit::AuditObject& object : decision.objects) {
        if (!is_between(object.kind, ObjectKind::object_domain, ObjectKind::object_lock))
            return "an object of a kind that does not exist";
        if (!object.uuid.empty() && object.uuid.size() != 16) return "a UUID of a wrong size";
    }
    return {};
}

}  // namespace

void Ledger::add_worker(std::uint64_t worker, std::string identity) {
    lose_worker(worker);
    workers_[worker].client.identity = std::move(identity);
}

void Ledger::open_session(const audit::ArrivalArgs& arrival) {
    const Moment now = clock_();
    Client client = make_client(arrival);
    writer_.write(make_session(now, client, arrival));
    if (arrival.session == 0) return;
    const auto [place, is_new] = sessions_.try_emplace(arrival.session);
    Session& session = place->second;
    if (session.is_full) --clients_;  // the broker told of it twice
    session = {.worker = arrival.worker,
               .begun = now,
               .client = {},
               .locks = arrival.locks != 0,
               .is_full = clients_ < k_clients_max};
    if (session.is_full) {
        session.client = std::move(client);
        ++clients_;
    } else {
        session.client.identity = arrival.identity;
    }
}

void Ledger::close_session(std::uint64_t session) {
    const auto place = sessions_.find(session);
    if (place == sessions_.end()) return;
    const std::uint64_t number = place->second.worker;
    for (const std::uint64_t speaker : {number, k_locker}) {
        const auto worker = workers_.find(speaker);
        if (worker == workers_.end()) continue;
        Calls& calls = worker->second.calls;
        for (auto call = calls.lower_bound({session, 0});
             call != calls.end() && call->first.first == session;)
            release(worker->second, call++, {.fate = Fate::lost});
    }
    const Moment now = clock_();
    writer_.write(make_session_end(now, place->second.client, session, now - place->second.begun));
    if (place->second.is_full) --clients_;
    departed_[session] = {.worker = number, .locks = place->second.locks};
    sessions_.erase(place);

    departed_order_.push_back(session);
    if (departed_order_.size() <= k_departed_max) return;
    departed_.erase(departed_order_.front());
    departed_order_.pop_front();
}

void Ledger::note_broken(const audit::BrokenArgs& broken) { writer_.write(make_broken(clock_(), broken)); }

void Ledger::note_policy(const audit::PolicyArgs& policy) { writer_.write(make_policy(clock_(), policy)); }

Result<Ledger::Taken> Ledger::find_session(std::uint64_t worker, std::uint64_t session) const {
    const std::uint64_t owner = worker_of(session);
    const bool is_locker = worker == k_locker;
    if (owner == worker || (is_locker && owner != 0 && sessions_.at(session).locks)) return Taken::yes;
    if (owner != 0) return peer_fault(fmt::format("it speaks of session {}, which is not its own", session));
    const auto departed = departed_.find(session);
    if (departed == departed_.end()) return Taken::too_early;
    if (departed->second.worker == worker || (is_locker && departed->second.locks)) return Taken::yes;
    return peer_fault(fmt::format("it speaks of session {}, which was not its own", session));
}

Result<Ledger::Taken> Ledger::decide(std::uint64_t worker, audit::DecisionArgs&& decision) {
    const auto place = workers_.find(worker);
    if (place == workers_.end()) return peer_fault("nobody knows it");
    const auto known = find_session(worker, decision.session);
    if (!known || *known == Taken::too_early) return known;
    Worker& self = place->second;
    const bool refused = decision.verdict == audit::AuditVerdict::verdict_refused;
    const auto before = self.calls.find({decision.session, decision.call});
    if (const std::string_view flaw = flaw_of(decision); !flaw.empty())
        return peer_fault(fmt::format("it sent {}", flaw));
    // So that it cannot say of a client that this destroyed a machine.
    if (worker == k_locker &&
        (decision.program != proto::lock::k_program || decision.version != proto::lock::k_version))
        return peer_fault("it speaks of a call that is not about locks");
    if (decision.dropped < self.dropped) return peer_fault("its count of dropped records fell");
    if (before != self.calls.end() && !refused)
        return peer_fault(
            fmt::format("it allowed call {} of session {} twice", decision.call, decision.session));

    note_dropped(self, decision.dropped);
    if (before != self.calls.end()) forget(self, before);
    const Moment now = clock_();
    // Of a session that is over no OUTCOME will come.
    if (refused || !sessions_.contains(decision.session)) {
        const Ending ending{.fate = refused ? Fate::none : Fate::lost};
        writer_.write(make_call(now, client_of(self, decision.session), decision, ending));
        return Taken::yes;
    }
    const std::size_t cost = cost_of(decision);
    hold(self, {.time = now, .decision = std::move(decision), .cost = cost});
    while (self.cost > k_held_bytes_max) release_oldest(self, {.fate = Fate::unknown});
    return Taken::yes;
}

Result<Ledger::Taken> Ledger::settle(std::uint64_t worker, const audit::OutcomeArgs& outcome) {
    const auto place = workers_.find(worker);
    if (place == workers_.end()) return peer_fault("nobody knows it");
    const auto known = find_session(worker, outcome.session);
    if (!known || *known == Taken::too_early) return known;
    const auto call = place->second.calls.find({outcome.session, outcome.call});
    // Not held: given up for room, or its decision was dropped on the way.
    if (call == place->second.calls.end()) return Taken::yes;
    const Fate fate = !outcome.answered ? Fate::lost : outcome.error != 0 ? Fate::error : Fate::done;
    release(place->second, call, {.fate = fate, .error = outcome.error, .duration = outcome.duration});
    return Taken::yes;
}

void Ledger::lose_worker(std::uint64_t worker) {
    const auto place = workers_.find(worker);
    if (place == workers_.end()) return;
    while (!place->second.held.empty()) release_oldest(place->second, {.fate = Fate::lost});
    workers_.erase(place);
}

void Ledger::give_up() {
    for (auto& [number, worker] : workers_)
        while (!worker.held.empty()) release_oldest(worker, {.fate = Fate::unknown});
}

std::uint64_t Ledger::worker_of(std::uint64_t session) const noexcept {
    const auto place = sessions_.find(session);
    return place == sessions_.end() ? 0 : place->second.worker;
}

std::string Ledger::identity_of(std::uint64_t worker) const {
    const auto place = workers_.find(worker);
    return place == workers_.end() ? std::string{} : place->second.client.identity;
}

std::size_t Ledger::held(std::uint64_t worker) const noexcept {
    const auto place = workers_.find(worker);
    return place == workers_.end() ? 0 : place->second.held.size();
}

const Client& Ledger::client_of(const Worker& worker, std::uint64_t session) const {
    const auto place = sessions_.find(session);
    if (place != sessions_.end()) return place->second.client;
    // Of one that is over, whose it was.
    const auto departed = departed_.find(session);
    const auto whose = departed == departed_.end() ? workers_.end() : workers_.find(departed->second.worker);
    return whose == workers_.end() ? worker.client : whose->second.client;
}

void Ledger::note_dropped(Worker& worker, std::uint64_t dropped) {
    if (dropped == worker.dropped) return;
    writer_.write(make_dropped(clock_(), worker.client.identity, dropped - worker.dropped,
                               "the channel to the auditor was full"));
    worker.dropped = dropped;
}

void Ledger::hold(Worker& worker, Held&& held) {
    const CallKey key{held.decision.session, held.decision.call};
    worker.cost += held.cost;
    worker.held.push_back(std::move(held));
    worker.calls.emplace(key, std::prev(worker.held.end()));
}

void Ledger::forget(Worker& worker, Calls::iterator call) {
    worker.cost -= call->second->cost;
    worker.held.erase(call->second);
    worker.calls.erase(call);
}

void Ledger::release(Worker& worker, Calls::iterator call, const Ending& ending) {
    const Held& held = *call->second;
    writer_.write(make_call(held.time, client_of(worker, held.decision.session), held.decision, ending));
    forget(worker, call);
}

void Ledger::release_oldest(Worker& worker, const Ending& ending) {
    const audit::DecisionArgs& oldest = worker.held.front().decision;
    release(worker, worker.calls.find({oldest.session, oldest.call}), ending);
}

}  // namespace virtgate::workerd::auditor
