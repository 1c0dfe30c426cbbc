// SPDX-License-Identifier: LGPL-2.1-or-later
// keeping - all that is kept: of each slot a record and a descriptor.
#include "lockd/holder/keeping.h"

#include <set>

namespace virtgate::lockd::holder {

Keeping::Keeping(loop::Loop& loop, Journal journal, loop::Target<> on_settled)
    : journal_(std::move(journal)), outer_(loop, on_settled) {}

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
            outer_.remove(name_of(one.slot));
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

Done Keeping::apply(Changes changes) {
    require(is_settled(), "something is changed while something else is under way");
    for (const auto& [slot, change] : changes) {
        if (change.record) {
            if (auto done = journal_.put(slot, *change.record); !done) return done;
        } else if (journal_.has(slot)) {
            // A record that stays behind has no descriptor: it is no harm.
            if (const auto done = journal_.erase({slot}); !done && stale_.next())
                Log{}.error("{} ({} times)", done.error().text, stale_.count());
        }
    }
    // Room in the outer store is made first.
    for (const auto& [slot, change] : changes)
        if ((!change.record || change.fd) && things_.erase(slot) != 0) outer_.remove(name_of(slot));
    for (auto& [slot, change] : changes) {
        if (!change.record) continue;
        Thing& thing = things_[slot];
        thing.record = std::move(*change.record);
        if (!change.fd) continue;
        thing.fd = std::move(change.fd);
        outer_.keep(name_of(slot), thing.fd.get());
    }
    return {};
}

}  // namespace virtgate::lockd::holder
