// SPDX-License-Identifier: LGPL-2.1-or-later
// keeping - all that is kept: of each slot a record and a descriptor.
#include "lockd/holder/keeping.h"

#include <set>

namespace virtgate::lockd::holder {

Keeping::Keeping(loop::Loop& loop, Journal journal, OnSettled on_settled)
    : journal_(std::move(journal)),
      on_settled_(on_settled),
      outer_(loop, loop::to<&Keeping::on_outer>(*this)) {}

Result<Keeping::Recovery> Keeping::recover(std::vector<Journal::Entry> entries, std::vector<Found> found) {
    Recovery recovery;
    std::map<Slot, ByteVector> records;
    for (auto& entry : entries) records.emplace(entry.slot, std::move(entry.record));
    // Two descriptors of one name: nobody can say which of them the record means.
    std::set<Slot> seen, ambiguous;
    for (const Found& one : found)
        if (!seen.insert(one.slot).second) ambiguous.insert(one.slot);
    for (Found& one : found) {
        const auto known = records.find(one.slot);
        if (ambiguous.contains(one.slot) || (!one.record && known == records.end())) {
            ++recovery.without_record;
            outer_.remove(name_of(one.slot), 0);
            continue;
        }
        ByteVector record = one.record ? std::move(*one.record) : known->second;
        if (known == records.end() || known->second != record)
            if (auto done = journal_.put(one.slot, record); !done)
                return tl::unexpected(std::move(done.error()));
        if (known != records.end()) records.erase(known);
        things_[one.slot] = {.fd = std::move(one.fd), .record = std::move(record)};
    }
    std::vector<Slot> gone;
    for (const auto& [slot, record] : records) gone.push_back(slot);
    if (auto done = journal_.erase(gone); !done) return tl::unexpected(std::move(done.error()));
    recovery.without_descriptor = gone.size();
    recovery.kept = things_.size();
    return recovery;
}

std::optional<Keeping::State> Keeping::state(Slot slot) const noexcept {
    const auto thing = things_.find(slot);
    if (thing == things_.end()) return std::nullopt;
    return thing->second.state;
}

Keeping::Outcome Keeping::keep(Slot slot, UniqueFd fd, ByteVector record) {
    require(!state(slot), "something is kept in a slot that is taken");
    if (auto done = journal_.put(slot, record); !done) return tl::unexpected(std::move(done.error()));
    const std::uint64_t ticket = ++last_ticket_;
    switch (outer_.keep(name_of(slot), fd.get(), ticket)) {
        case OuterStore::Outcome::failed:
            // The journal may say it for a while longer: a record without a descriptor is no harm.
            static_cast<void>(journal_.erase({slot}));
            return system_fault(0, "the lock daemon has no descriptor left");
        case OuterStore::Outcome::done:
            things_[slot] = {.fd = std::move(fd), .record = std::move(record)};
            return std::nullopt;
        case OuterStore::Outcome::waits: break;
    }
    things_[slot] = {
        .fd = std::move(fd), .record = std::move(record), .state = State::storing, .ticket = ticket};
    waiting_[ticket] = {slot};
    ++unsettled_;
    return ticket;
}

Done Keeping::renew(Slot slot, ByteVector record) {
    require(state(slot) == State::kept, "a record is replaced where none is kept");
    if (auto done = journal_.put(slot, record); !done) return done;
    things_.at(slot).record = std::move(record);
    return {};
}

Keeping::Outcome Keeping::drop(const std::vector<Slot>& slots) {
    for (const Slot slot : slots)
        require(state(slot) == State::kept, "a slot is dropped in which nothing is kept");
    if (auto done = journal_.erase(slots); !done) return tl::unexpected(std::move(done.error()));
    const std::uint64_t ticket = ++last_ticket_;
    bool waits = false;
    for (const Slot slot : slots) {
        things_.at(slot).fd.reset();
        // The queue is in order: when the last one has been sent, all have.
        waits = outer_.remove(name_of(slot), slot == slots.back() ? ticket : 0) == OuterStore::Outcome::waits;
    }
    if (!waits) {
        for (const Slot slot : slots) things_.erase(slot);
        return std::nullopt;
    }
    for (const Slot slot : slots) things_.at(slot).state = State::dropping;
    waiting_[ticket] = slots;
    unsettled_ += slots.size();
    return ticket;
}

void Keeping::on_outer(std::uint64_t ticket, bool done) noexcept {
    if (const auto slots = waiting_.find(ticket); slots != waiting_.end()) settle(ticket, done);
}

void Keeping::settle(std::uint64_t ticket, bool done) {
    const std::vector<Slot> slots = std::move(waiting_.at(ticket));
    waiting_.erase(ticket);
    unsettled_ -= slots.size();
    for (const Slot slot : slots) {
        Thing& thing = things_.at(slot);
        if (thing.state == State::storing && done) {
            thing.state = State::kept;
            continue;
        }
        if (thing.state == State::storing) static_cast<void>(journal_.erase({slot}));
        things_.erase(slot);
    }
    on_settled_(ticket, done);
}

}  // namespace virtgate::lockd::holder
